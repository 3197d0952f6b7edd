"""The plugin is found, and costs nothing until it is used."""

import subprocess
import sys
from importlib.metadata import entry_points

from sashizu_core.plugins import load_plugins, make_registry
from sashizu_core.settings import Settings
from sashizu_openai import plugin


def test_the_plugin_is_registered_under_its_name() -> None:
    found = {entry.name: entry.load() for entry in entry_points(group="sashizu")}
    assert found["openai"] is plugin


def test_its_models_are_in_the_registry() -> None:
    tables = {"models": {"mine": {"base_url": "http://localhost:1/v1"}}}
    registry = make_registry(load_plugins(), Settings(tables=tables))
    assert {"openai/*", "mine/*"} <= registry.models.keys()


def test_neither_loading_nor_listing_imports_the_sdk() -> None:
    program = (
        "import sys\n"
        "from sashizu_core.settings import Settings\n"
        "from sashizu_openai import plugin\n"
        "assert plugin.register_models(Settings())\n"
        "print(*{'openai', 'aiohttp', 'httpx2', 'orjson'} & sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []

from __future__ import annotations

import subprocess
import sys

import pytest
from sashizu_budget import plugin
from sashizu_core.errors import ConfigError
from sashizu_core.plugins import load_plugins, make_registry
from sashizu_core.settings import Settings
from sashizu_core.types import ModelInfo, Price


async def test_the_plugin_provides_a_ledger_with_the_prices_of_the_settings() -> None:
    table = {"prices": {"mine/model": {"input": 1, "output": 2}}}
    spec = plugin.provide_budget(Settings({"budget": table}))
    async with spec.open() as budget:
        price = budget.price_of(ModelInfo("mine/model", "mine"))
    assert price == Price(1000, 2000, source="settings")


def test_a_wrong_table_is_told_before_anything_is_opened() -> None:
    with pytest.raises(ConfigError, match="price"):
        plugin.provide_budget(Settings({"budget": {"price": {}}}))


def test_the_command_is_a_typer_app() -> None:
    [command] = plugin.register_commands()
    assert (command.name, command.target) == ("budget", "sashizu_budget.cli:app")


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    code = (
        "import sys; import sashizu_budget.plugin;"
        "print(*sorted({'typer', 'rich', 'click', 'hypothesis', 'sashizu_budget.prices'}"
        " & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_an_installed_plugin_is_the_ledger_of_the_registry() -> None:
    registry = make_registry(load_plugins(), Settings())
    assert registry.budget is not None
    assert registry.budget.name == "ledger"

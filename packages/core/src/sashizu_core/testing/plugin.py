"""What every plugin promises, whatever it offers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import ClassVar, Protocol

import pytest

from sashizu_core.entries import installed_names
from sashizu_core.plugins import Registry, load_plugins, make_registry
from sashizu_core.settings import Settings
from sashizu_core.testing.contract import Contract

__all__ = ["PluginContract"]

_LONGEST_SUMMARY = 100

_LIST_IMPORTS = """
import json, sys
for folder in json.loads(sys.argv[1]):
    if folder not in sys.path:
        sys.path.append(folder)
import platformdirs, sashizu_core.plugins  # what core itself needs is there already
from sashizu_core.settings import Settings
before = set(sys.modules)
import importlib
plugin = importlib.import_module(sys.argv[2])
imported = set(sys.modules) - before
others = sashizu_core.entries.installed_names()
loaded = sashizu_core.plugins.load_plugins(others, extra=[plugin])
sashizu_core.plugins.make_registry(loaded, Settings())
called = set(sys.modules) - before
print(json.dumps({"imported": sorted(imported), "called": sorted(called)}))
"""


class _Spec(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...


class PluginContract(Contract):
    """Set `module` to the name of the plugin's module, `sashizu_echo.plugin` say.

    Every command of the command line imports every plugin and calls its hooks, so neither may
    import more than the plugin's own modules, the standard library and what core itself needs.
    `light` names further modules that may be imported because they cost nothing.
    """

    module: ClassVar[str]
    light: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def settings(self) -> Settings:
        """What the hooks get; the defaults unless overridden."""
        return Settings()

    @pytest.fixture
    def registry(self, settings: Settings) -> Registry:
        """What this plugin offers, and no other."""
        plugins = load_plugins(installed_names(), extra=[import_module(self.module)])
        return make_registry(plugins, settings)

    def test_it_registers_and_knows_every_hook_and_argument(self, registry: Registry) -> None:
        (plugin,) = registry.plugins
        assert plugin.hooks, f"{self.module} implements no hook; mark them with @hookimpl"

    def test_names_and_summaries_are_one_word_and_one_line(self, registry: Registry) -> None:
        for spec in _specs(registry):
            assert spec.name.split() == [spec.name], f"{spec.name!r} is no name"
            assert spec.summary, f"{spec.name!r} has no summary"
            assert spec.summary.isprintable(), f"the summary of {spec.name!r} is not one line"
            assert len(spec.summary) <= _LONGEST_SUMMARY, f"the summary of {spec.name!r} is long"

    def test_importing_it_and_calling_its_hooks_loads_nothing_heavy(self) -> None:
        ran = subprocess.run(
            [sys.executable, "-I", "-c", _LIST_IMPORTS, json.dumps(sys.path), self.module],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, f"importing {self.module} failed:\n{ran.stderr}"
        found = json.loads(ran.stdout.splitlines()[-1])
        for names, what in (
            (found["imported"], "importing"),
            (found["called"], "calling the hooks of"),
        ):
            heavy = self._foreign(names)
            assert not heavy, (
                f"{what} {self.module} also imports {heavy}; import them inside `open`"
            )

    def _foreign(self, modules: list[str]) -> list[str]:
        """The packages among modules that are neither the plugin's nor the standard library's."""
        own = {self.module.partition(".")[0], "sashizu_core", *self.light}
        packages = {name.partition(".")[0] for name in modules}
        return sorted(packages - own - sys.stdlib_module_names)


def _specs(registry: Registry) -> Iterator[_Spec]:
    for offered in (
        registry.models,
        registry.tools,
        registry.policies,
        registry.sinks,
        registry.agents,
        registry.executors,
        registry.devices,
        registry.commands,
    ):
        yield from offered.values()
    if registry.budget is not None:
        yield registry.budget

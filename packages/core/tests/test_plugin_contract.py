"""The contract of plugins holds for core's own plugin, and finds what breaks it."""

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sashizu_core.errors import PluginError
from sashizu_core.settings import Settings
from sashizu_core.testing.plugin import PluginContract

HEAD = """
from sashizu_core.hookspecs import hookimpl
from sashizu_core.specs import ModelSpec
"""


class TestCore(PluginContract):
    module = "sashizu_core.builtin.plugin"


Write = Callable[[str], PluginContract]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a plugin's module and makes its suite."""
    name = "plugin_under_contract"
    monkeypatch.syspath_prepend(str(tmp_path))

    def write_one(code: str) -> PluginContract:
        (tmp_path / f"{name}.py").write_text(HEAD + code)
        suite = types.new_class("TestThis", (PluginContract,), exec_body=None)
        suite.module = name  # type: ignore[attr-defined]
        made = suite()
        assert isinstance(made, PluginContract)
        return made

    yield write_one
    sys.modules.pop(name, None)


def _registry(suite: PluginContract) -> object:
    fixture = PluginContract.__dict__["registry"]
    make = getattr(fixture, "__wrapped__", None) or fixture._get_wrapped_function()
    return make(suite, Settings())


OFFER = "@hookimpl\ndef register_models():\n    return [ModelSpec({name!r}, {summary!r}, None)]\n"


def test_a_heavy_import_at_the_top_is_found(write: Write) -> None:
    suite = write("import trio\n" + OFFER.format(name="a", summary="b"))
    with pytest.raises(AssertionError, match=r"importing plugin_under_contract also imports \["):
        suite.test_importing_it_and_calling_its_hooks_loads_nothing_heavy()


def test_a_heavy_import_in_a_hook_is_found(write: Write) -> None:
    suite = write("@hookimpl\ndef register_models():\n    import trio\n    return []\n")
    with pytest.raises(AssertionError, match=r"calling the hooks of .* 'trio'"):
        suite.test_importing_it_and_calling_its_hooks_loads_nothing_heavy()


def test_a_module_that_cannot_be_imported_is_told(write: Write) -> None:
    suite = write("import no_such_module_xyz")
    with pytest.raises(AssertionError, match="No module named 'no_such_module_xyz'"):
        suite.test_importing_it_and_calling_its_hooks_loads_nothing_heavy()


def test_the_standard_library_and_an_import_inside_open_are_light(write: Write) -> None:
    suite = write(
        "import sqlite3\ndef open_():\n    import trio\n" + OFFER.format(name="a", summary="b")
    )
    suite.test_importing_it_and_calling_its_hooks_loads_nothing_heavy()


def test_a_plugin_without_hooks_is_found(write: Write) -> None:
    suite = write("def register_models(settings):\n    return []\n")
    with pytest.raises(AssertionError, match="implements no hook"):
        suite.test_it_registers_and_knows_every_hook_and_argument(_registry(suite))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "summary"),
    [("a b", "fine"), ("", "fine"), ("a", ""), ("a", "two\nlines"), ("a", "x" * 101)],
)
def test_a_bad_name_or_summary_is_found(write: Write, name: str, summary: str) -> None:
    suite = write(OFFER.format(name=name, summary=summary))
    with pytest.raises(AssertionError):
        suite.test_names_and_summaries_are_one_word_and_one_line(_registry(suite))  # type: ignore[arg-type]


def test_an_unknown_hook_is_found(write: Write) -> None:
    suite = write("@hookimpl\ndef register_modles(settings):\n    return []\n")
    with pytest.raises(Exception, match="unknown hook 'register_modles'"):
        _registry(suite)


def test_two_specs_of_one_name_are_found(write: Write) -> None:
    spec = "ModelSpec('a', 'b', None)"
    suite = write(f"@hookimpl\ndef register_models():\n    return [{spec}, {spec}]\n")
    with pytest.raises(PluginError, match="two plugins offer the ModelSpec 'a'"):
        _registry(suite)

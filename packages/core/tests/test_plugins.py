import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from sashizu_core.entries import installed_names
from sashizu_core.errors import ConfigError, PluginError
from sashizu_core.hookspecs import hookimpl
from sashizu_core.plugins import load_plugins, make_registry, open_registry
from sashizu_core.settings import Settings, Table
from sashizu_core.specs import BudgetSpec, ModelSpec, ToolSpec

Install = Callable[..., None]

HEAD = "from sashizu_core.hookspecs import hookimpl\n"
GOOD = """
from sashizu_core.hookspecs import hookimpl
from sashizu_core.specs import ModelSpec

def open_(name):
    raise AssertionError("never opened")

@hookimpl
def register_models(settings):
    return [ModelSpec("{name}/one", "a model", open_)]
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs distributions into a folder of its own, each with one plugin."""
    modules: list[str] = []

    def install_one(name: str, code: str = GOOD, *, module: str = "") -> None:
        module = module or "fitted_" + name.replace("-", "_")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[sashizu]\n{name} = {module}\n")
        (tmp_path / f"{module}.py").write_text(code.replace("{name}", name))
        modules.append(module)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield install_one
    for module in modules:
        sys.modules.pop(module, None)


def _others() -> list[str]:
    """The plugins that are really installed here; blocked, because these tests are not theirs."""
    return [name for name in installed_names() if not name.startswith("fit-")]


def test_a_plugin_is_found_loaded_and_described(install: Install) -> None:
    others = _others()
    install("fit-a")
    install("fit-b")
    registry = make_registry(load_plugins(others), Settings())
    assert list(registry.models) == ["fit-a/one", "fit-b/one"]
    first, second = registry.plugins
    assert (first.name, first.module) == ("fit-a", "fitted_fit_a")
    assert first.hooks == ("register_models",)
    assert second.distribution == "fitted_fit_b 1.0"
    assert registry.broken == ()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import missing_module_xyz", "ModuleNotFoundError: No module named"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("def broken(:", "SyntaxError"),
        (
            HEAD + "@hookimpl\ndef register_modles(settings): return []",
            "unknown hook 'register_modles'",
        ),
        (
            HEAD + "@hookimpl\ndef register_models(settngs): return []",
            "Argument(s) {'settngs'} are declared",
        ),
        (
            HEAD + "@hookimpl\nasync def register_models(settings): return []",
            "register_models is async; hooks are sync",
        ),
        (
            HEAD + "@hookimpl(wrapper=True)\ndef register_models(settings): return (yield)",
            "register_models is a wrapper",
        ),
    ],
)
def test_a_broken_plugin_is_skipped_logged_and_listed(
    install: Install, caplog: pytest.LogCaptureFixture, code: str, reason: str
) -> None:
    others = _others()
    install("fit-a")
    install("fit-bad", code)
    install("fit-c")
    with caplog.at_level(logging.WARNING):
        registry = make_registry(load_plugins(others), Settings())
    assert list(registry.models) == ["fit-a/one", "fit-c/one"]
    (broken,) = registry.broken
    assert (broken.name, broken.module) == ("fit-bad", "fitted_fit_bad")
    assert reason in broken.reason
    assert "plugin 'fit-bad' (fitted_fit_bad) is skipped" in caplog.text
    assert [info.name for info in registry.plugins] == ["fit-a", "fit-c"]


def test_strict_turns_a_broken_plugin_into_an_error(install: Install) -> None:
    others = _others()
    install("fit-bad", "raise OSError('no disk')")
    settings = Settings({"plugins": {"disable": others, "strict": True}})
    with pytest.raises(PluginError, match=r"'fit-bad' \(fitted_fit_bad\) is broken: OSError: no"):
        open_registry(settings)


def test_a_blocked_plugin_is_never_imported(install: Install) -> None:
    others = _others()
    install("fit-a", "raise AssertionError('imported')")
    registry = make_registry(load_plugins([*others, "fit-a"], strict=True), Settings())
    assert registry.plugins == ()
    assert registry.broken == ()
    assert "fitted_fit_a" not in sys.modules


def test_two_installed_plugins_of_one_name_are_told_before_either_is_imported(
    install: Install,
) -> None:
    others = _others()
    install("fit-a", "raise AssertionError('imported')")
    install("fit-a", "raise AssertionError('imported')", module="imposter")
    with pytest.raises(PluginError) as caught:
        load_plugins(others)
    for part in ("'fit-a'", "fitted_fit_a (of", "imposter (of imposter)", "uninstall one"):
        assert part in str(caught.value)


# --- plugins made in code


class Models:
    """Answers one hook with anything."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    @hookimpl
    def register_models(self, settings: Settings) -> object:
        return self._answer


class Tools:
    def __init__(self, *specs: ToolSpec) -> None:
        self._specs = specs

    @hookimpl
    def register_tools(self) -> Sequence[ToolSpec]:
        return self._specs


def _never(*_: object) -> object:
    raise AssertionError("opened")


def _model(name: str) -> ModelSpec:
    return ModelSpec(name, "a model", _never)  # type: ignore[arg-type]


def _tool(name: str, *aliases: str) -> ToolSpec:
    return ToolSpec(name, "a tool", _never, aliases=aliases)  # type: ignore[arg-type]


def _registry(*plugins: object) -> object:
    return make_registry(load_plugins(installed_names(), extra=plugins), Settings())


def test_two_plugins_that_offer_one_name_are_told_with_their_modules() -> None:
    with pytest.raises(PluginError) as caught:
        _registry(Models([_model("m")]), Models([_model("m")]))
    text = str(caught.value)
    assert "two plugins offer the ModelSpec 'm'" in text
    assert text.count(f"({__name__})") == 2


@pytest.mark.parametrize("answer", [None, "m", [1], 7, iter([])])
def test_a_hook_must_return_a_sequence_of_its_specs(answer: object) -> None:
    with pytest.raises(PluginError, match="return a sequence of ModelSpec"):
        _registry(Models(answer))


def test_a_hook_that_raises_is_told_with_the_plugins_name() -> None:
    class Failing:
        @hookimpl
        def register_tools(self, settings: Settings) -> Sequence[ToolSpec]:
            raise KeyError("nothing there")

    plugins = load_plugins(installed_names())
    plugins.register(Failing(), name="fit-failing")
    with pytest.raises(PluginError, match=r"'fit-failing' failed in register_tools: KeyError"):
        make_registry(plugins, Settings())


def test_wrong_settings_of_a_plugin_stay_a_config_error() -> None:
    class Configured:
        @hookimpl
        def register_tools(self, settings: Settings) -> Sequence[ToolSpec]:
            settings.plugin("fit", Table)
            return []

    plugins = load_plugins(installed_names(), extra=[Configured()])
    with pytest.raises(ConfigError, match=r"unknown key 'fit.x'"):
        make_registry(plugins, Settings({"fit": {"x": 1}}))


def test_a_hook_may_take_fewer_arguments() -> None:
    registry = make_registry(
        load_plugins(installed_names(), extra=[Tools(_tool("a"), _tool("b", "bee"))]), Settings()
    )
    assert list(registry.tools) == ["a", "b"]


def test_a_tools_second_name_must_be_free() -> None:
    with pytest.raises(PluginError, match="'a' and 'b' are both called 'a'"):
        _registry(Tools(_tool("a"), _tool("b", "a")))
    with pytest.raises(PluginError, match="'a' and 'b' are both called 'x'"):
        _registry(Tools(_tool("a", "x"), _tool("b", "x")))


def test_the_first_plugin_that_has_a_ledger_provides_it() -> None:
    class Ledger:
        def __init__(self, spec: object) -> None:
            self._spec = spec

        @hookimpl
        def provide_budget(self) -> object:
            return self._spec

    plugins = load_plugins(installed_names())
    spec = BudgetSpec("own", "a ledger", _never)  # type: ignore[arg-type]
    plugins.register(Ledger(None), name="a")
    plugins.register(Ledger(spec), name="b")
    plugins.register(Ledger(BudgetSpec("late", "", _never)), name="c")  # type: ignore[arg-type]
    assert make_registry(plugins, Settings()).budget is spec
    plugins.register(Ledger("wrong"), name="A")
    with pytest.raises(PluginError, match="'A' returned 'wrong' from provide_budget"):
        make_registry(plugins, Settings())


def test_plugins_answer_in_the_order_of_their_names() -> None:
    plugins = load_plugins(installed_names())
    for name in ("c", "a", "b"):
        plugins.register(Models([_model(name)]), name=name)
    assert list(make_registry(plugins, Settings()).models) == ["a", "b", "c"]

"""Find plugins, block some, import the rest, and collect what they offer into a `Registry`."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

import pluggy

from sashizu_core import hookspecs
from sashizu_core.entries import GROUP, installed_entries
from sashizu_core.errors import PluginError, SashizuError
from sashizu_core.settings import Settings
from sashizu_core.specs import (
    AdmissionSpec,
    AgentSource,
    BudgetSpec,
    CommandSpec,
    DeviceSpec,
    ExecutorSpec,
    HostSpec,
    IsolationSpec,
    ModelSpec,
    PolicySpec,
    SandboxSpec,
    SinkSpec,
    ToolSourceSpec,
    ToolSpec,
)

__all__ = [
    "BrokenPlugin",
    "PluginInfo",
    "Plugins",
    "Registry",
    "load_plugins",
    "make_registry",
    "open_registry",
]

logger = logging.getLogger(__name__)

S = TypeVar(
    "S",
    AgentSource,
    CommandSpec,
    DeviceSpec,
    ExecutorSpec,
    HostSpec,
    IsolationSpec,
    ModelSpec,
    PolicySpec,
    SandboxSpec,
    SinkSpec,
    ToolSourceSpec,
    ToolSpec,
)


F = TypeVar("F", AdmissionSpec, BudgetSpec)


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """A plugin that was loaded. `module` is what its entry point names, `hooks` what it offers."""

    name: str
    module: str
    hooks: tuple[str, ...]
    entry: EntryPoint | None = None

    @property
    def distribution(self) -> str:
        """The distribution it came with, as `NAME VERSION`; empty for one made in code."""
        dist = self.entry.dist if self.entry is not None else None
        return f"{dist.name} {dist.version}" if dist is not None else ""


@dataclass(frozen=True, slots=True)
class BrokenPlugin:
    """A plugin that was skipped, and why."""

    name: str
    module: str
    reason: str


class Plugins(pluggy.PluginManager):
    """The plugins that were loaded, and those that were not."""

    def __init__(self) -> None:
        super().__init__(GROUP)
        self.add_hookspecs(hookspecs)
        self.entries: dict[str, EntryPoint] = {}
        self.broken: list[BrokenPlugin] = []


@dataclass(frozen=True)
class Registry:
    """What all plugins together offer. Passed as a value; made once."""

    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    tools: Mapping[str, ToolSpec] = field(default_factory=dict)
    tool_sources: Mapping[str, ToolSourceSpec] = field(default_factory=dict)
    policies: Mapping[str, PolicySpec] = field(default_factory=dict)
    sandboxes: Mapping[str, SandboxSpec] = field(default_factory=dict)
    sinks: Mapping[str, SinkSpec] = field(default_factory=dict)
    agents: Mapping[str, AgentSource] = field(default_factory=dict)
    executors: Mapping[str, ExecutorSpec] = field(default_factory=dict)
    isolations: Mapping[str, IsolationSpec] = field(default_factory=dict)
    hosts: Mapping[str, HostSpec] = field(default_factory=dict)
    devices: Mapping[str, DeviceSpec] = field(default_factory=dict)
    commands: Mapping[str, CommandSpec] = field(default_factory=dict)
    budget: BudgetSpec | None = None
    admission: AdmissionSpec | None = None
    plugins: tuple[PluginInfo, ...] = ()
    broken: tuple[BrokenPlugin, ...] = ()


# --- loading --------------------------------------------------------------------------------------


def load_plugins(
    blocked: Collection[str] = (), *, extra: Iterable[object] = (), strict: bool = False
) -> Plugins:
    """Import every installed plugin that is not blocked, in the order of their names.

    One that cannot be used is skipped, logged and listed in `broken`, so that it cannot take the
    others down. `extra` are plugins made in code: modules or objects with hooks.

    Raises:
        PluginError: two installed plugins have one name; or, if `strict`, one is broken.
    """
    plugins = Plugins()
    entries = [entry for entry in _unique_entries() if entry.name not in blocked]
    for entry in entries:
        try:
            _register(plugins, entry.load(), entry.name)
            plugins.entries[entry.name] = entry
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            if strict:
                message = f"plugin {entry.name!r} ({entry.value}) is broken: {reason}"
                raise PluginError(message) from error
            plugins.broken.append(BrokenPlugin(entry.name, entry.value, reason))
            logger.warning("plugin %r (%s) is skipped: %s", entry.name, entry.value, reason)
            logger.debug("how plugin %r failed", entry.name, exc_info=error)
    for plugin in extra:
        _register(plugins, plugin, None)
    return plugins


def _unique_entries() -> Iterator[EntryPoint]:
    """The installed plugins; importing would come too late to tell which of two is meant.

    Raises:
        PluginError: two of them have one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in installed_entries():
        other = found.setdefault(entry.name, entry)
        if other.value != entry.value:
            raise PluginError(
                f"two installed plugins are called {entry.name!r}: {_home(other)} and "
                f"{_home(entry)}; uninstall one"
            )
    yield from found.values()


def _home(entry: EntryPoint) -> str:
    return f"{entry.value} (of {entry.dist.name})" if entry.dist is not None else entry.value


def _register(plugins: Plugins, plugin: object, name: str | None) -> None:
    """Register, or leave no trace.

    Raises:
        PluginError: a hook is not known, not sync, or a wrapper.
        pluggy.PluginValidationError: an argument is not known.
    """
    try:
        plugins.register(plugin, name=name)
        plugins.check_pending()
        for caller in plugins.get_hookcallers(plugin) or ():
            for hook in caller.get_hookimpls():
                if hook.plugin is plugin:
                    _check_hook(caller.name, hook)
    except Exception:
        if plugins.is_registered(plugin):
            plugins.unregister(plugin)
        raise


def _check_hook(name: str, hook: pluggy.HookImpl) -> None:
    if hook.hookwrapper or hook.wrapper:
        raise PluginError(f"{name} is a wrapper; a hook returns what it offers")
    if inspect.iscoroutinefunction(hook.function) or inspect.isasyncgenfunction(hook.function):
        raise PluginError(f"{name} is async; hooks are sync, and what they open is async")


# --- collecting -----------------------------------------------------------------------------------


def make_registry(plugins: Plugins, settings: Settings) -> Registry:
    """Call every hook once, plugin by plugin in the order of their names.

    Raises:
        ConfigError: a plugin's settings are wrong.
        PluginError: a hook fails or returns something else, or two plugins offer one name.
    """
    tools = _collect(plugins, "register_tools", ToolSpec, settings)
    _check_aliases(tools)
    return Registry(
        models=_collect(plugins, "register_models", ModelSpec, settings),
        tools=tools,
        tool_sources=_collect(plugins, "register_tool_sources", ToolSourceSpec, settings),
        policies=_collect(plugins, "register_policies", PolicySpec, settings),
        sandboxes=_collect(plugins, "register_sandboxes", SandboxSpec, settings),
        sinks=_collect(plugins, "register_sinks", SinkSpec, settings),
        agents=_collect(plugins, "register_agents", AgentSource, settings),
        executors=_collect(plugins, "register_executors", ExecutorSpec, settings),
        isolations=_collect(plugins, "register_isolations", IsolationSpec, settings),
        hosts=_collect(plugins, "register_hosts", HostSpec, settings),
        devices=_collect(plugins, "register_devices", DeviceSpec, settings),
        commands=_collect(plugins, "register_commands", CommandSpec, settings),
        budget=_first(plugins, "provide_budget", BudgetSpec, settings),
        admission=_first(plugins, "provide_admission", AdmissionSpec, settings),
        plugins=tuple(_infos(plugins)),
        broken=tuple(plugins.broken),
    )


def open_registry(settings: Settings) -> Registry:
    """Load what the settings do not block, and collect what it offers.

    Raises:
        ConfigError: a plugin's settings are wrong.
        PluginError: as `load_plugins` and `make_registry` say.
    """
    wanted = settings.plugins
    return make_registry(load_plugins(wanted.disable, strict=wanted.strict), settings)


def _answers(plugins: Plugins, hook_name: str, settings: Settings) -> Iterator[tuple[str, Any]]:
    """What each plugin answers to a hook, with the plugin's name."""
    hooks = getattr(plugins.hook, hook_name).get_hookimpls()
    for hook in sorted(hooks, key=lambda hook: hook.plugin_name):
        arguments = [{"settings": settings}[name] for name in hook.argnames]
        try:
            answer = hook.function(*arguments)
        except SashizuError:
            raise
        except Exception as error:
            raise PluginError(
                f"plugin {hook.plugin_name!r} failed in {hook_name}: {type(error).__name__}: "
                f"{error} (SASHIZU_DISABLE={hook.plugin_name} leaves it out)"
            ) from error
        yield hook.plugin_name, answer


def _collect(
    plugins: Plugins, hook_name: str, kind: type[S], settings: Settings
) -> Mapping[str, S]:
    found: dict[str, S] = {}
    owners: dict[str, str] = {}
    for owner, specs in _answers(plugins, hook_name, settings):
        if not isinstance(specs, Sequence) or not all(isinstance(spec, kind) for spec in specs):
            raise PluginError(
                f"plugin {owner!r} returned {specs!r:.80} from {hook_name}; "
                f"return a sequence of {kind.__name__}"
            )
        for spec in specs:
            if spec.name in found:
                one, two = _module(found[spec.name]), _module(spec)
                raise PluginError(
                    f"two plugins offer the {kind.__name__} {spec.name!r}: {owners[spec.name]!r} "
                    f"({one}) and {owner!r} ({two}); disable one with SASHIZU_DISABLE"
                )
            found[spec.name] = spec
            owners[spec.name] = owner
    return found


def _module(spec: object) -> str:
    """Where a spec was made, as far as it can be told."""
    opener = getattr(spec, "open", None)
    target = getattr(spec, "target", "") or getattr(spec, "folder", "")
    return str(getattr(opener, "__module__", None) or target)


def _check_aliases(tools: Mapping[str, ToolSpec]) -> None:
    """Refuse a second name that is taken: nobody could say which tool it grants."""
    owners: dict[str, str] = {}
    for spec in tools.values():
        for alias in spec.aliases:
            other = alias if alias in tools else owners.setdefault(alias, spec.name)
            if other != spec.name:
                raise PluginError(
                    f"the tools {other!r} and {spec.name!r} are both called {alias!r}"
                )


def _first(plugins: Plugins, hook_name: str, kind: type[F], settings: Settings) -> F | None:
    for owner, spec in _answers(plugins, hook_name, settings):
        if isinstance(spec, kind):
            return spec
        if spec is not None:
            raise PluginError(
                f"plugin {owner!r} returned {spec!r:.80} from {hook_name}; "
                f"return one {kind.__name__} or None"
            )
    return None


def _infos(plugins: Plugins) -> Iterator[PluginInfo]:
    for name, plugin in sorted(plugins.list_name_plugin()):
        hooks = sorted(caller.name for caller in plugins.get_hookcallers(plugin) or ())
        entry = plugins.entries.get(name)
        module = entry.value if entry is not None else getattr(plugin, "__name__", repr(plugin))
        yield PluginInfo(name, module, tuple(hooks), entry)

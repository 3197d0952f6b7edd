"""Find plugins, block some, import the rest, and collect what they offer into a `Registry`."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

import pluggy

from sashizu_core import hookspecs
from sashizu_core.errors import PluginError
from sashizu_core.hookspecs import GROUP
from sashizu_core.settings import Settings
from sashizu_core.specs import (
    AgentSource,
    BudgetSpec,
    CommandSpec,
    ExecutorSpec,
    ModelSpec,
    PolicySpec,
    SinkSpec,
    ToolSpec,
)

__all__ = ["Registry", "load_plugins", "make_registry"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Registry:
    """What all plugins together offer. Passed as a value; made once."""

    models: Mapping[str, ModelSpec] = field(default_factory=dict)
    tools: Mapping[str, ToolSpec] = field(default_factory=dict)
    policies: Mapping[str, PolicySpec] = field(default_factory=dict)
    sinks: Mapping[str, SinkSpec] = field(default_factory=dict)
    agents: Mapping[str, AgentSource] = field(default_factory=dict)
    executors: Mapping[str, ExecutorSpec] = field(default_factory=dict)
    commands: Mapping[str, CommandSpec] = field(default_factory=dict)
    budget: BudgetSpec | None = None


def load_plugins(
    blocked: Collection[str] = (), *, extra: Iterable[object] = ()
) -> pluggy.PluginManager:
    """Import every installed plugin that is not blocked; one that fails is logged and skipped."""
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        if entry.name in blocked:
            continue
        try:
            manager.register(entry.load(), name=entry.name)
            manager.check_pending()
        except Exception:
            logger.exception("plugin %r (%s) was not loaded", entry.name, entry.value)
            if manager.has_plugin(entry.name):
                manager.unregister(name=entry.name)
    for plugin in extra:
        manager.register(plugin)
    manager.check_pending()
    return manager


def make_registry(manager: pluggy.PluginManager, settings: Settings) -> Registry:
    """Call every hook once."""

    def collect(results: list[Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for spec in (spec for specs in results for spec in specs):
            if spec.name in found:
                raise PluginError(f"two plugins offer {spec.name!r}")
            found[spec.name] = spec
        return found

    hook = manager.hook
    return Registry(
        models=collect(hook.register_models(settings=settings)),
        tools=collect(hook.register_tools(settings=settings)),
        policies=collect(hook.register_policies(settings=settings)),
        sinks=collect(hook.register_sinks(settings=settings)),
        agents=collect(hook.register_agents(settings=settings)),
        executors=collect(hook.register_executors(settings=settings)),
        commands=collect(hook.register_commands()),
        budget=hook.provide_budget(settings=settings),
    )

"""The hooks of a plugin.

All are sync, cheap, called once when a registry is made, and return specs. An implementation may
take fewer arguments than its hook offers.
"""

from __future__ import annotations

from collections.abc import Sequence

import pluggy

from sashizu_core.entries import GROUP
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
    "GROUP",
    "hookimpl",
    "hookspec",
    "provide_admission",
    "provide_budget",
    "register_agents",
    "register_commands",
    "register_devices",
    "register_executors",
    "register_hosts",
    "register_isolations",
    "register_models",
    "register_policies",
    "register_sandboxes",
    "register_sinks",
    "register_tool_sources",
    "register_tools",
]

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def register_models(settings: Settings) -> Sequence[ModelSpec]:
    """Offer models.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_tools(settings: Settings) -> Sequence[ToolSpec]:
    """Offer tools.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_tool_sources(settings: Settings) -> Sequence[ToolSourceSpec]:
    """Offer tools that are known only once somebody is asked, such as those of servers.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_policies(settings: Settings) -> Sequence[PolicySpec]:
    """Offer policies: each may deny or ask, and every one must agree.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_sandboxes(settings: Settings) -> Sequence[SandboxSpec]:
    """Offer ways to hold the programs that agents start.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_sinks(settings: Settings) -> Sequence[SinkSpec]:
    """Offer sinks: each gets every event.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_agents(settings: Settings) -> Sequence[AgentSource]:
    """Offer folders of agent definitions.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_executors(settings: Settings) -> Sequence[ExecutorSpec]:
    """Offer executors.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_isolations(settings: Settings) -> Sequence[IsolationSpec]:
    """Offer ways to keep agents apart that change the same files.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_hosts(settings: Settings) -> Sequence[HostSpec]:
    """Offer ways to have agents work in processes of their own.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_devices(settings: Settings) -> Sequence[DeviceSpec]:
    """Offer ways to learn what GPUs and NPUs do.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec
def register_commands() -> Sequence[CommandSpec]:
    """Offer commands of the CLI. No settings: help has none."""
    raise NotImplementedError


@hookspec(firstresult=True)
def provide_budget(settings: Settings) -> BudgetSpec | None:
    """Provide the ledger of this process; None leaves it to another plugin.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError


@hookspec(firstresult=True)
def provide_admission(settings: Settings) -> AdmissionSpec | None:
    """Provide what says when local models may be loaded; None leaves it to another plugin.

    Args:
        settings: the settings; ask for the plugin's own table with `settings.plugin`.
    """
    raise NotImplementedError

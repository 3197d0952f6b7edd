"""The provider of the settings, and serving it until nobody asks any more."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sashizu_core.agents import load_catalogue
from sashizu_core.errors import UsageError
from sashizu_core.limits import parse_budget_flags, parse_duration
from sashizu_core.settings import Settings

from sashizu_winai.hosting.actions import HostedAction, hosted_actions
from sashizu_winai.hosting.manifest import CLSID
from sashizu_winai.hosting.provider import AgentProvider
from sashizu_winai.settings import winai_settings

if TYPE_CHECKING:
    from sashizu_core.plugins import Registry

    from sashizu_winai.backend import Backend

__all__ = ["actions_of", "provider_of", "serve"]


def actions_of(settings: Settings, registry: Registry) -> tuple[HostedAction, ...]:
    """The actions that the settings name.

    Raises:
        UsageError: there is no workspace, or an agent that is named is none, or cannot be hosted.
        ConfigError: a file is broken.
    """
    catalogue = load_catalogue(registry.agents.values(), workspace=_workspace(settings))
    names = winai_settings(settings).hosting.agents
    return hosted_actions(catalogue, names, default_model=settings.run.model)


def provider_of(
    settings: Settings, registry: Registry, tell: Callable[[str], None]
) -> AgentProvider:
    """The provider of the settings; `tell` hears what goes wrong, one line each.

    Raises:
        UsageError, ConfigError: see `actions_of`; or nothing limits what an invocation may use.
    """
    from sashizu_core.runtime import delegate

    table = winai_settings(settings).hosting
    workspace = _workspace(settings)
    if not table.budget and not settings.run.budget:
        raise UsageError(
            "agents that others invoke need a limit of what they may use, and there is none; set "
            "'budget' in the table [winai.hosting], or in [run]"
        )
    budget = parse_budget_flags(table.budget)[0] if table.budget else None
    run = partial(
        delegate,
        workspace=workspace,
        budget=budget,
        deadline_s=parse_duration(table.deadline),
        settings=settings,
        registry=registry,
    )
    return AgentProvider(
        actions_of(settings, registry),
        workspace=workspace,
        delegate=run,
        invokers=table.invokers,
        at_once=table.at_once,
        tell=tell,
    )


async def serve(backend: Backend, provider: AgentProvider, *, idle_s: float) -> None:
    """Carry out what Windows asks, until nothing was asked for so long.

    Raises:
        UsageError: no agent is named.
        WindowsAiError: Windows cannot ask, or not here.
    """
    if not provider.actions:
        raise UsageError(
            "no agent is hosted: name some under 'agents' in the table [winai.hosting]"
        )
    async with backend.hosted(provider, CLSID):
        await provider.idle_for(idle_s)


def _workspace(settings: Settings) -> Path:
    named = winai_settings(settings).hosting.workspace
    folder = Path(named).expanduser()
    if not named or not folder.is_absolute() or not folder.is_dir():
        found = f"{named!r} is no absolute path of a folder" if named else "none is named"
        raise UsageError(
            f"agents that others invoke need a folder to work in, and {found}; set 'workspace' in "
            "the table [winai.hosting]"
        )
    return folder

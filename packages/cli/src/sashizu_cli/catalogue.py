"""The agents that the command line can name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sashizu_core.agents import Catalogue

    from sashizu_cli.session import Session

__all__ = ["catalogue_of", "complete_agent_list", "complete_agents"]


def catalogue_of(session: Session) -> Catalogue:
    """All agents that can be asked for in the working directory."""
    from sashizu_core.agents import load_catalogue

    return load_catalogue(session.registry.agents.values(), workspace=Path.cwd())


def complete_agents(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of agents that begin like the word being typed."""
    from sashizu_cli.session import session_of

    names = (entry.name for entry in catalogue_of(session_of(ctx)))
    return [name for name in names if name.startswith(incomplete)]


def complete_agent_list(ctx: typer.Context, incomplete: str) -> list[str]:
    """The same for the last name of `A,B,...`."""
    before, comma, last = incomplete.rpartition(",")
    return [before + comma + name for name in complete_agents(ctx, last)]

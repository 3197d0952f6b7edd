"""Which record the commands ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sashizu_core.plugins import open_registry
from sashizu_core.settings import command_settings

if TYPE_CHECKING:
    import typer

    from sashizu_dashboard.record import Query

__all__ = ["query_of"]


def query_of(ctx: typer.Context) -> Query | None:
    """How the record is asked; None where nobody keeps one."""
    settings = command_settings(ctx.find_root().obj)
    specs = open_registry(settings).sinks.values()
    return next((spec.query for spec in specs if spec.query is not None), None)

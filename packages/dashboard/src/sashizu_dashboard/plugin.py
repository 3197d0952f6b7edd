"""What sashizu-dashboard offers: the commands `report` and `dashboard`."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.hookspecs import hookimpl
from sashizu_core.specs import CommandSpec

__all__ = ["register_commands"]


@hookimpl
def register_commands() -> Sequence[CommandSpec]:
    return [
        CommandSpec("report", "Write a page about a run.", "sashizu_dashboard.cli:app"),
        CommandSpec(
            "dashboard",
            "Show runs in a browser, as they are.",
            "sashizu_dashboard.dashboard_command:app",
        ),
    ]

"""What sashizu-gateway offers: the commands that put other programs under a budget."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.hookspecs import hookimpl
from sashizu_core.specs import CommandSpec

__all__ = ["register_commands"]


@hookimpl
def register_commands() -> Sequence[CommandSpec]:
    return [
        CommandSpec(
            "gateway",
            "Serve models to other programs, under a budget.",
            "sashizu_gateway.cli.serving:app",
        ),
        CommandSpec(
            "exec-with-budget",
            "Start a program whose model calls are bounded and recorded.",
            "sashizu_gateway.cli.execution:app",
        ),
    ]

"""What sashizu-gateway offers: commands and engines that put other programs under a budget."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.hookspecs import hookimpl
from sashizu_core.settings import Settings
from sashizu_core.specs import CommandSpec, ModelSpec

__all__ = ["register_commands", "register_models"]


@hookimpl
def register_models(settings: Settings) -> Sequence[ModelSpec]:
    """Programs that do the work of an agent, for definitions with an `engine`."""
    from sashizu_gateway.engines.offers import engine_specs

    return engine_specs(settings)


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

"""What sashizu-winai offers: a model, `windows_action`, the commands `winai` and `bench`."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.hookspecs import hookimpl
from sashizu_core.settings import Settings
from sashizu_core.specs import CommandSpec, ModelSpec, ToolSpec

__all__ = ["register_commands", "register_models", "register_tools"]


@hookimpl
def register_models(settings: Settings) -> Sequence[ModelSpec]:
    from sashizu_winai.offers import model_specs

    return model_specs(settings)


@hookimpl
def register_tools(settings: Settings) -> Sequence[ToolSpec]:
    from sashizu_winai.offers import tool_specs

    return tool_specs(settings)


@hookimpl
def register_commands() -> Sequence[CommandSpec]:
    return [
        CommandSpec(
            "winai",
            "Show and use what Windows AI can do on this machine.",
            "sashizu_winai.cli:app",
            experimental=True,
        ),
        CommandSpec(
            "bench",
            "Measure what this machine really does.",
            "sashizu_winai.bench.command:app",
            experimental=True,
        ),
    ]

"""The settings of the command line that a command belongs to."""

from __future__ import annotations

import typer
from sashizu_core.settings import Settings, command_settings

__all__ = ["settings_of"]


def settings_of(ctx: typer.Context) -> Settings:
    """Those of the calling command line; alone, those of the working directory."""
    return command_settings(ctx.find_root().obj)

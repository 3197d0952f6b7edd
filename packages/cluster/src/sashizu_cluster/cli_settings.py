"""The settings of a command: those of the session, or of the folder it is called in."""

from __future__ import annotations

import typer
from sashizu_core.settings import Settings, command_settings

__all__ = ["settings_of"]


def settings_of(ctx: typer.Context) -> Settings:
    """What the settings say for this call.

    Raises:
        ConfigError: a settings file is wrong.
    """
    return command_settings(ctx.find_root().obj)

"""The settings of a command: those of the session, or of the folder it is called in."""

from __future__ import annotations

from pathlib import Path

import typer
from sashizu_core.settings import Settings, load_settings

__all__ = ["settings_of"]


def settings_of(ctx: typer.Context) -> Settings:
    """What the settings say for this call.

    Raises:
        ConfigError: a settings file is wrong.
    """
    found = getattr(ctx.find_root().obj, "settings", None)
    return found if isinstance(found, Settings) else load_settings(Path.cwd())

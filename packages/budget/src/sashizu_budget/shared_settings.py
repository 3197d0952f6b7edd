"""The settings of the command line that a command belongs to."""

from __future__ import annotations

from pathlib import Path

import typer
from sashizu_core.settings import Settings, load_settings

__all__ = ["settings_of"]


def settings_of(ctx: typer.Context) -> Settings:
    """Those of the calling command line; alone, those of the working directory."""
    found = getattr(ctx.find_root().obj, "settings", None)
    return found if isinstance(found, Settings) else load_settings(Path.cwd())

"""What the commands of `winai` have in common: the settings of a call, and text of strangers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from sashizu_core.settings import Settings

    from sashizu_winai.settings import WinAiSettings

__all__ = ["asked_settings", "asked_table", "plain"]


def asked_settings(ctx: typer.Context) -> Settings:
    """The settings of a call: those of the front door, else those of this folder."""
    from sashizu_core.settings import Settings, load_settings

    found = getattr(ctx.find_root().obj, "settings", None)
    return found if isinstance(found, Settings) else load_settings(Path.cwd())


def asked_table(ctx: typer.Context) -> WinAiSettings:
    """The table `[winai]` of a call.

    Raises:
        ConfigError: it is wrong.
    """
    from sashizu_winai.settings import winai_settings

    return winai_settings(asked_settings(ctx))


def plain(text: str) -> str:
    """A text of strangers on one line, without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)

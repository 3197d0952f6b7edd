"""Asks once whether agents that a repository brings may be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sashizu_core.trust import TrustStore

from sashizu_cli import keyboard, render
from sashizu_cli.brought import BroughtFile, brought_files, show_brought

if TYPE_CHECKING:
    from sashizu_core.errors import TrustNeeded

    from sashizu_cli.session import Session

__all__ = ["agree", "trust_now"]


def agree(files: Sequence[BroughtFile]) -> bool:
    """Ask on the terminal whether what was just shown is trusted; no is the default."""
    count = f"these {len(files)} files" if len(files) > 1 else "this file"
    keyboard.forget_typed()
    render.prompt(f"Trust {count} as shown, until changed? [y/N] ")
    return keyboard.typed_line().lower() in ("y", "yes")


def trust_now(needed: TrustNeeded, session: Session) -> bool:
    """Show what a run needs trust for and ask; False where nobody is there, or says no.

    What is trusted is what was shown: if a file changes meanwhile, the run is refused.
    """
    if not keyboard.somebody_there():
        return False
    asked = {file.path for file in needed.files}
    files = [file for file in brought_files(session) if file.path in asked and file.trustable]
    if not files:
        return False
    render.note("this repository brings what was asked for, and nobody has trusted it:")
    show_brought(files, to_stderr=True)
    if not agree(files):
        return False
    TrustStore().trust(Path.cwd(), {file.path: file.sha256 for file in files})
    return True

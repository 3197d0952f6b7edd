"""Programs that tools start: found outside the workspace, with nothing of our environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from sashizu_core.workspace import Workspace

__all__ = ["find_program", "plain_environment"]


def _inside(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def find_program(name: str, workspace: Workspace, search: str | None = None) -> Path | None:
    """The absolute path of a program, or None.

    What lies in the workspace, or leads there, is passed over: a repository must not bring the
    program that looks at it. `search` is a list like `PATH`, which it is by default.
    """
    suffix = ".exe" if sys.platform == "win32" else ""
    for folder in (os.environ.get("PATH", "") if search is None else search).split(os.pathsep):
        if not folder or not Path(folder).is_absolute():
            continue
        found = Path(folder) / f"{name}{suffix}"
        try:
            real = Path(os.path.realpath(found, strict=True))
        except OSError:
            continue
        if _inside(real, workspace.roots) or _inside(found, workspace.roots):
            continue
        if real.is_file() and os.access(real, os.X_OK):
            return real
    return None


def plain_environment() -> Mapping[str, str]:
    """No variables, but the one without which Windows starts nothing."""
    if (root := os.environ.get("SYSTEMROOT")) and sys.platform == "win32":
        return {"SYSTEMROOT": root}
    return {}

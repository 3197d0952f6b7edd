"""Looks at paths that may not be ours to look at: what cannot be seen is not there."""

from __future__ import annotations

import stat
from pathlib import Path

__all__ = ["is_file", "is_folder"]


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


def is_file(path: Path) -> bool:
    """Whether a path leads to a regular file that can be seen."""
    return stat.S_ISREG(_mode(path))


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder that can be seen."""
    return stat.S_ISDIR(_mode(path))

"""Whether the number of a process means here what it means to a driver."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["is_ours", "name_of"]

_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the namespace that the kernel makes at boot."""


def is_ours(pid: int, root: Path) -> bool | None:
    """Whether a number of the host is that of a process that is seen here under it.

    In a container the same number may be another process, so there only an absent one is certain.
    """
    there = (root / f"proc/{pid}").exists()
    if in_first_namespace(root):
        return there
    return None if there else False


def in_first_namespace(root: Path) -> bool:
    try:
        found = os.readlink(root / "proc/self/ns/pid")  # noqa: PTH115 - it is no path
    except OSError:
        return False
    return found == f"pid:[{_FIRST_PID_NAMESPACE}]"


def name_of(pid: int, root: Path) -> str:
    """What a process calls itself; empty where that cannot be read."""
    try:
        text = (root / f"proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in text)

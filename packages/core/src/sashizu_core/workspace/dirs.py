"""Folders as handles: what is opened through one lies beneath it.

There are three ways, from the strongest to the one that works everywhere:

- `KernelDir`: Linux 5.6 and later; `openat2` with `RESOLVE_BENEATH` (openat2(2)).
- `StepwiseDir`: any POSIX system; one `openat` a component, no symbolic link at all.
- `NamedDir`: opens by path, then compares where the opened handle really lies.

All raise `OSError`; a path that leads outside is `EXDEV`, a link that is not followed `ELOOP`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol

__all__ = ["Dir", "Kind", "Opener", "open_dir"]

Kind = Literal["file", "folder", "link", "other"]

READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# A FIFO must not block, and a terminal must not become ours.
READ |= getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_NOINHERIT", 0)
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
CREATE |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NOINHERIT", 0)


class Dir(Protocol):
    """An open folder. `name` arguments are single components, `path` arguments may be several."""

    def open_file(self, path: str) -> tuple[int, str]:
        """Open for reading, through links that stay beneath; the descriptor and its real path."""
        ...

    def open_at_once(self, path: str) -> int | None:
        """Open for reading, through no link; None where that may have to wait, or fails."""
        ...

    def open_dir(self, path: str) -> tuple[Dir, str]:
        """Open a folder, through links that stay beneath; the folder and its real path."""
        ...

    def child_file(self, name: str) -> int:
        """Open an entry for reading; a link is not followed."""
        ...

    def child_dir(self, name: str) -> Dir:
        """Open an entry that is a folder; a link is not followed."""
        ...

    def create(self, name: str, mode: int) -> int:
        """Open a new file for writing; it must not exist."""
        ...

    def mkdir(self, name: str) -> None: ...

    def lstat(self, name: str) -> os.stat_result: ...

    def link(self, old: str, new: str) -> None: ...

    def replace(self, old: str, new: str) -> None: ...

    def unlink(self, name: str) -> None: ...

    def rmdir(self, name: str) -> None: ...

    def scan(self) -> Iterator[tuple[str, Kind]]:
        """The entries, in no order; without `.` and `..`."""
        ...

    def sync(self) -> None:
        """Wait until its entries are on the disk, where the system can say so."""
        ...

    def close(self) -> None: ...


Opener = Callable[[Path], Dir]
"""Opens a root. The path is absolute and resolved."""


def open_dir(path: Path) -> Dir:
    """Open a root in the strongest way this system has."""
    if sys.platform == "win32":
        from sashizu_core.workspace.named import NamedDir

        return NamedDir(path)
    from sashizu_core.workspace.posix import KernelDir, StepwiseDir, kernel_resolves

    return KernelDir.open(path) if kernel_resolves() else StepwiseDir.open(path)


def kind_of(entry: os.DirEntry[str]) -> Kind:
    """What a scanned entry is, itself."""
    is_junction = getattr(entry, "is_junction", None)  # Python 3.12
    if entry.is_symlink() or (is_junction is not None and is_junction()):
        return "link"
    if entry.is_dir(follow_symlinks=False):
        return "folder"
    return "file" if entry.is_file(follow_symlinks=False) else "other"

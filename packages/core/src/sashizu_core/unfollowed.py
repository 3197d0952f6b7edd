"""Files that are opened by their own names: no link leads from there to another."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

__all__ = ["is_link", "open_unfollowed"]

REPARSE_POINT = 0x400
"""`FILE_ATTRIBUTE_REPARSE_POINT` (Windows): symbolic links and junctions."""

_ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOINHERIT", 0) | getattr(os, "O_BINARY", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # who opens a named pipe is not to wait for its writer
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)


def is_link(status: os.stat_result) -> bool:
    """Whether an `lstat` is of a link, a junction of Windows included."""
    attributes = getattr(status, "st_file_attributes", 0)
    return stat.S_ISLNK(status.st_mode) or bool(attributes & REPARSE_POINT)


def open_unfollowed(path: Path, flags: int, mode: int = 0o600) -> int:
    """The descriptor of a file, for bytes; children do not inherit it.

    Windows has no flag for that: what was opened is compared with what the name itself stands for.

    Raises:
        OSError: as `os.open`; `ELOOP` where the name is a link, or a junction of Windows.
    """
    descriptor = os.open(path, flags | _ALWAYS | _AT_ONCE | _NO_LINK, mode)
    if not _NO_LINK and not _is_itself(path, descriptor):
        os.close(descriptor)
        raise OSError(errno.ELOOP, "it is a link, or was swapped", str(path))
    return descriptor


def _is_itself(path: Path, descriptor: int) -> bool:
    try:
        named = path.lstat()
    except OSError:  # gone or replaced meanwhile
        return False
    return not is_link(named) and os.path.samestat(named, os.fstat(descriptor))

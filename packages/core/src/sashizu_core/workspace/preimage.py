"""What is there before a change, and whether it is what was expected."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from sashizu_core.errors import ToolError
from sashizu_core.unfollowed import is_link
from sashizu_core.workspace.dirs import Dir
from sashizu_core.workspace.reading import read_open_file

__all__ = [
    "ABSENT",
    "Before",
    "Change",
    "Changed",
    "check_expected",
    "digest_of",
    "read_before",
    "same_file",
    "status_of",
]

ABSENT = "absent"
"""Stands where a digest could: the file must not exist."""

MAX_CHANGED_BYTES = 64 * 1024 * 1024
"""The largest file that is replaced or deleted: what was there is compared first."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a file should become.

    `data` is all of its bytes, None to delete it. `expect` is the SHA-256 that it must have now
    (hexadecimal), `ABSENT` if it must not exist, None for whatever is there.
    """

    path: str
    data: bytes | None
    expect: str | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a file. `sha256` is None when there is no file now; `bytes` is its size."""

    path: str
    action: Literal["created", "replaced", "deleted", "unchanged"]
    sha256: str | None
    bytes: int


def digest_of(data: bytes) -> str:
    """The SHA-256, as 64 hexadecimal digits."""
    return sha256(data).hexdigest()


@dataclass(slots=True)
class Before:
    """What is there before a change."""

    data: bytes
    status: os.stat_result


def status_of(folder: Dir, name: str) -> os.stat_result | None:
    """What an entry is, itself; None where there is none."""
    try:
        return folder.lstat(name)
    except FileNotFoundError:
        return None


def same_file(first: os.stat_result | None, second: os.stat_result | None) -> bool:
    """Whether two looks at a path saw the same, unchanged file, or both saw none."""
    if first is None or second is None:
        return first is second
    return (first.st_ino, first.st_size, first.st_mtime_ns) == (
        second.st_ino,
        second.st_size,
        second.st_mtime_ns,
    )


def read_before(folder: Dir, name: str, path: str) -> Before | None:
    """The file that a change is about to replace; None where there is none.

    Raises:
        ToolError: it is not one that is replaced.
    """
    status = status_of(folder, name)
    if status is None:
        return None
    if is_link(status):
        raise ToolError(f"cannot change {path!r}: it is a symbolic link")
    if not stat.S_ISREG(status.st_mode):
        raise ToolError(f"cannot change {path!r}: it is no regular file")
    if not status.st_mode & stat.S_IWUSR:
        raise ToolError(f"cannot change {path!r}: it is marked read-only")
    fd = folder.child_file(name)
    try:
        status = os.fstat(fd)  # before the bytes: a write in between must be noticed later
        return Before(read_open_file(fd, MAX_CHANGED_BYTES), status)
    finally:
        os.close(fd)


def check_expected(change: Change, before: Before | None) -> None:
    """Refuse a change whose pre-image is not the one that was expected.

    Raises:
        ToolError: see there.
    """
    if change.expect is None:
        return
    if change.expect == ABSENT:
        if before is not None:
            size = len(before.data)
            raise ToolError(f"cannot create {change.path!r}: it exists ({size:,} bytes)")
        return
    # The digest that is there is not told: who wants to replace a file is to read it.
    if before is None:
        raise ToolError(f"cannot change {change.path!r}: there is no such file any more")
    if digest_of(before.data) != change.expect.lower():
        raise ToolError(
            f"cannot change {change.path!r}: it has not the sha256 {change.expect}; read it again"
        )

"""One file of the record: append-only, locked, and never left with half a line by a full disk."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from sashizu_audit.disk import lock, reserve, sync_file

__all__ = ["RESERVE", "BrokenSegment", "Segment"]

RESERVE = 1024 * 1024
"""Bytes that are set aside ahead of what is written."""

_FLAGS = (
    os.O_CREAT
    | os.O_EXCL
    | os.O_WRONLY
    | os.O_APPEND
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)


class Segment:
    """A segment that is being written.

    `size` is what has been written; up to `reserved` there is room on the disk for certain, or
    nobody can set it aside.
    """

    __slots__ = ("_fd", "path", "reserved", "size")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.reserved = 0
        self._fd = os.open(path, _FLAGS, 0o600)
        try:
            lock(self._fd)
        except OSError:
            self.discard()
            raise

    def has_room(self, length: int) -> bool:
        return self.size + length <= self.reserved

    def reserve(self, length: int) -> None:
        """Set room aside for the next `length` bytes.

        Raises:
            OSError: there is none.
        """
        if self.has_room(length):
            return
        reserved = reserve(self._fd, self.size, length)
        self.reserved = self.size + length if reserved else sys.maxsize

    def append(self, data: bytes) -> None:
        """Write all of it with one call, or nothing.

        Raises:
            BrokenSegment: a part was written and could not be taken back.
            OSError: nothing was written.
        """
        before = self.size
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301 - undone below
            self.size = before + written
        except BaseException:  # an interrupt as well: who is told of a failure finds no line
            self.cut(before)
            raise

    def cut(self, size: int) -> None:
        """Take back what was written beyond `size` bytes.

        Raises:
            BrokenSegment: it cannot be taken back.
        """
        try:
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise BrokenSegment(error.errno, error.strerror) from error
        self.size = self.reserved = size  # what was set aside is given back as well

    def sync(self) -> None:
        """Bring everything written to the disk.

        Raises:
            OSError: it is not known to be there.
        """
        sync_file(self._fd)

    def end(self) -> None:
        """Give back what was set aside, bring the rest to the disk, and let the lock go.

        Raises:
            OSError: it is not known to be there; the file is closed all the same.
        """
        try:
            os.ftruncate(self._fd, self.size)
            sync_file(self._fd)
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file as it is. The lock of another process, which forked us, stays."""
        fd, self._fd = self._fd, -1
        os.close(fd)

    def discard(self) -> None:
        """Remove a file in which nothing was written."""
        self.abandon()
        self.path.unlink(missing_ok=True)


class BrokenSegment(OSError):
    """A part of a line could not be taken back: nothing may follow it."""

"""Reading an open file whole, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from hashlib import sha256

__all__ = ["ChangedWhileRead", "NotAFile", "TooLarge", "file_sha256", "read_open_file"]

_CHUNK = 1024 * 1024


class NotAFile(ValueError):
    """A device, a FIFO, a socket or a folder."""


class TooLarge(ValueError):
    """`size` and `limit` are in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"{size} bytes, at most {limit}")
        self.size = size
        self.limit = limit


class ChangedWhileRead(ValueError):
    """Somebody wrote to the file in the meantime."""


def _chunks(fd: int) -> Iterator[bytes]:
    while chunk := os.read(fd, _CHUNK):
        yield chunk


def _same(before: os.stat_result, after: os.stat_result) -> bool:
    return (before.st_size, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_size,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )


def _status_of_file(fd: int) -> os.stat_result:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotAFile
    return status


def read_open_file(fd: int, limit: int) -> bytes:
    """All bytes of a regular file of at most `limit` bytes. The descriptor stays open.

    Raises:
        NotAFile, TooLarge, ChangedWhileRead: see there.
    """
    before = _status_of_file(fd)
    if before.st_size > limit:
        raise TooLarge(before.st_size, limit)
    data = bytearray()
    for chunk in _chunks(fd):
        data += chunk
        if len(data) > limit:
            raise ChangedWhileRead  # it was within the limit a moment ago
    if len(data) != before.st_size or not _same(before, os.fstat(fd)):
        raise ChangedWhileRead
    return bytes(data)


def file_sha256(fd: int) -> tuple[str, int]:
    """The digest (64 hexadecimal digits) and the size in bytes of a regular file of any size.

    Raises:
        NotAFile, ChangedWhileRead: see there.
    """
    before = _status_of_file(fd)
    digest, size = sha256(), 0
    for chunk in _chunks(fd):
        digest.update(chunk)
        size += len(chunk)
    if size != before.st_size or not _same(before, os.fstat(fd)):
        raise ChangedWhileRead
    return digest.hexdigest(), size

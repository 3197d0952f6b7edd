"""The lines of a descriptor as they come, each with the moment at which it was read."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator
from time import monotonic

import anyio
import anyio.to_thread

__all__ = ["MOST_LINE_BYTES", "lines_of"]

MOST_LINE_BYTES = 1024 * 1024
_CHUNK = 65_536


async def lines_of(fd: int) -> AsyncIterator[tuple[bytes, float]]:
    """Each line without its end, and `time.monotonic()` when it was there.

    A line of more than `MOST_LINE_BYTES` comes as its beginning, one byte longer than that; the
    rest of it is read and left out.
    """
    waits, rest, cut = _can_wait(fd), b"", False
    while data := await _read(fd, waits=waits):
        at = monotonic()
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if not cut:
                yield line[: MOST_LINE_BYTES + 1], at
            cut = False
        if len(rest) > MOST_LINE_BYTES:
            if not cut:
                yield rest[: MOST_LINE_BYTES + 1], at
            rest, cut = b"", True
    if rest and not cut:
        yield rest, monotonic()


async def _read(fd: int, *, waits: bool) -> bytes:
    try:
        if waits:
            await anyio.wait_readable(fd)
            return os.read(fd, _CHUNK)
        return await anyio.to_thread.run_sync(os.read, fd, _CHUNK, abandon_on_cancel=True)
    except OSError:  # whoever wrote is gone
        return b""


def _can_wait(fd: int) -> bool:
    """Whether the event loop can wait for it: pipes and sockets, not files; nothing on Windows."""
    if sys.platform == "win32":
        return False
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)

"""Lines in and out of descriptors, without a thread per line where the system allows that."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections import deque
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread

from sashizu_mcp_server.startup.lines import MOST_LINE_BYTES

__all__ = ["LineReader", "LineWriter"]

_CHUNK = 1 << 16
_PIECE = 4096
"""Bytes that a pipe takes without waiting once it says that it is ready (`PIPE_BUF`)."""


def _can_wait(fd: int) -> bool:
    """Whether readiness can be waited for: pipes and sockets, not files."""
    if sys.platform == "win32":
        return False
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(fd)


class LineReader:
    """The lines of a descriptor, those read before first."""

    def __init__(self, fd: int, frames: list[bytes], rest: bytes) -> None:
        self._fd = fd
        self._ready = deque(frames)
        self._rest = bytearray(rest)
        self._waits = _can_wait(fd)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Every line without its end, until the other side closes or sends one that is too long."""
        while True:
            while self._ready:
                yield self._ready.popleft()
            if not self._split():
                if len(self._rest) > MOST_LINE_BYTES:
                    return
                data = await self._read()
                if not data:
                    return
                self._rest += data

    def _split(self) -> bool:
        if b"\n" not in self._rest:
            return False
        *lines, rest = bytes(self._rest).split(b"\n")
        self._ready.extend(lines)
        self._rest = bytearray(rest)
        return True

    async def _read(self) -> bytes:
        try:
            if self._waits:
                await anyio.wait_readable(self._fd)
                return os.read(self._fd, _CHUNK)
            return await anyio.to_thread.run_sync(os.read, self._fd, _CHUNK, abandon_on_cancel=True)
        except OSError:
            return b""


class LineWriter:
    """Writes whole lines to a descriptor, in order, whoever sends them."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._waits = _can_wait(fd)
        self._turn = anyio.Lock()
        self._poll: select.poll | None = None
        if self._waits:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLOUT)
        self.broken = False

    async def send(self, line: bytes) -> None:
        """Write one line, its end included. Nothing is written once nobody reads."""
        if self.broken:
            return
        if (
            len(line) <= _PIECE
            and not self._turn.locked()
            and self._poll is not None
            and self._poll.poll(0)
        ):
            self._put(line)  # cannot block, and cannot be cut in two
            return
        async with self._turn:
            with anyio.CancelScope(shield=True):
                await self._send(memoryview(line))

    async def _send(self, data: memoryview) -> None:
        while data and not self.broken:
            if not self._waits:
                await anyio.to_thread.run_sync(self._put, bytes(data))
                return
            await anyio.wait_writable(self._fd)
            data = data[self._put(bytes(data[:_PIECE])) :]

    def _put(self, data: bytes) -> int:
        try:
            written = os.write(self._fd, data)
            while written < len(data) and not self._waits:
                written += os.write(self._fd, data[written:])
        except OSError:
            self.broken = True
            return len(data)
        return written

"""A pool for several processes: asked over a Unix socket, and rid of a client with its connection.

A request is one line of JSON, `{"allocate": BYTES}` or `{"free": NUMBER}`; so is the answer, and
with that to the first travels the descriptor of the memory.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Self

import anyio
import anyio.to_thread
from anyio.abc import SocketAttribute, SocketStream, TaskStatus, UNIXSocketStream
from sashizu_core.devices import DeviceError

from sashizu_gpu_driver.pinned.memory import SharedMemory, adopt
from sashizu_gpu_driver.pinned.pool import MemoryPool

__all__ = ["PoolClient", "connect_pool", "receive_memory", "send_memory", "serve_pool"]

_LONGEST = 4096
_NOTE = 1024

_GONE = (anyio.BrokenResourceError, anyio.EndOfStream)

_numbers = count(1)


async def serve_pool(
    pool: MemoryPool,
    place: Path,
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a pool to processes of this user at a socket, until cancelled.

    What a client has not given back is taken back when its connection ends, also by its death.
    """
    listener = await anyio.create_unix_listener(place, mode=0o600)
    try:
        async with listener:
            task_status.started()
            await listener.serve(lambda stream: _serve(pool, stream))
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.Path(place).unlink(missing_ok=True)


async def _serve(pool: MemoryPool, stream: SocketStream) -> None:
    assert isinstance(stream, UNIXSocketStream)
    async with stream:
        pid = _peer(stream)
        if pid is None:
            return
        client = f"{pid}/{next(_numbers)}"
        given: dict[int, SharedMemory] = {}
        try:
            requests = _Requests(stream)
            while True:
                await _answer(pool, client, given, await requests.next(), stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream, ValueError, TypeError):
            return
        except RecursionError:  # brackets in brackets
            return
        finally:
            pool.release(client)


def _peer(stream: UNIXSocketStream) -> int | None:
    """The process at the other end; None where it is not one of this user."""
    raw = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no query of a database
    size = struct.calcsize("3i")
    found = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, user, _ = struct.unpack("3i", found)
    return int(pid) if user == os.geteuid() else None


class _Requests:
    """What a client asks, one line each."""

    def __init__(self, stream: UNIXSocketStream) -> None:
        self._stream = stream
        self._waiting = b""

    async def next(self) -> dict[str, Any]:
        """The next request.

        Raises:
            ValueError: it is no request.
            EndOfStream: there is none.
        """
        while b"\n" not in self._waiting:
            if len(self._waiting) > _LONGEST:
                raise ValueError("a request is too long")
            self._waiting += await self._stream.receive(_LONGEST)
        line, _, self._waiting = self._waiting.partition(b"\n")
        request = json.loads(line)
        if not isinstance(request, dict):
            raise TypeError("a request is an object")
        return request


async def _answer(
    pool: MemoryPool,
    client: str,
    given: dict[int, SharedMemory],
    request: dict[str, Any],
    stream: UNIXSocketStream,
) -> None:
    if (number := request.get("free")) is not None:
        memory = given.pop(number, None) if isinstance(number, int) else None
        if memory is not None:
            memory.close()
        await stream.send(_told({"freed": memory is not None}))
        return
    size = request.get("allocate")
    if not isinstance(size, int) or isinstance(size, bool):
        raise TypeError("a request allocates or frees")
    try:
        memory = await anyio.to_thread.run_sync(lambda: pool.allocate(size, client=client))
    except DeviceError as error:
        await stream.send(_told({"refused": str(error)}))
        return
    number = next(_numbers)
    given[number] = memory
    answer = {"number": number, "pinned": memory.pinned, "reason": memory.reason}
    await stream.send_fds(_told(answer), [memory.fd])


def _told(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode().ljust(_NOTE)[: _NOTE - 1] + b"\n"


class PoolClient:
    """A connection to a served pool. All that was allocated is taken back when it ends.

    A call that is cancelled before it was answered ends its use: the next answer would be for that.
    """

    def __init__(self, stream: UNIXSocketStream) -> None:
        self._stream = stream
        self._one = anyio.Lock()
        self._astray = False
        self._numbers: dict[SharedMemory, int] = {}

    async def allocate(self, size: int) -> SharedMemory:
        """Zeroed memory, to be written here and handed to others.

        Raises:
            DeviceError: the pool refused, or is not there any more.
        """
        async with self._one:
            answer, fds = await self._asked({"allocate": size})
        if not fds:
            raise DeviceError(str(answer.get("refused", "the pool gave no memory")))
        memory = adopt(fds[0], writable=True)
        memory.pinned, memory.reason = bool(answer.get("pinned")), str(answer.get("reason", ""))
        self._numbers[memory] = int(answer["number"])
        return memory

    async def free(self, memory: SharedMemory) -> None:
        """Give memory back.

        Raises:
            DeviceError: the pool is not there any more, or the memory is not of it.
        """
        number = self._numbers.pop(memory, None)
        if number is None:
            raise DeviceError("the memory is not of this pool, or was given back already")
        memory.close()
        async with self._one:
            await self._asked({"free": number})

    async def _asked(self, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        if self._astray:
            raise DeviceError("an earlier call was not answered to its end; connect anew")
        self._astray, fds = True, list[int]()
        try:
            await self._stream.send(json.dumps(request).encode() + b"\n")
            text, fds = await _received(self._stream)
            answer = dict(json.loads(text))
        except (*_GONE, ValueError, TypeError, RecursionError) as error:
            _closed(fds)
            raise DeviceError("the pool is not there any more") from error
        self._astray = False
        return answer, fds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for memory in self._numbers:
            memory.close()
        self._numbers.clear()


async def _received(stream: UNIXSocketStream) -> tuple[bytes, list[int]]:
    """One answer of fixed length with the descriptors that came with it."""
    text, fds = b"", list[int]()
    try:
        while len(text) < _NOTE:
            more, came = await stream.receive_fds(_NOTE - len(text), 1)
            fds += came
            text += more or _ended()
    except BaseException:
        _closed(fds)
        raise
    _closed(fds[1:])  # one is meant
    return text, fds[:1]


def _ended() -> bytes:
    raise anyio.EndOfStream


def _closed(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


@asynccontextmanager
async def connect_pool(place: Path) -> AsyncGenerator[PoolClient]:
    """Connect to a served pool.

    Raises:
        DeviceError: nobody serves one there.
    """
    if sys.platform != "linux":
        raise DeviceError(f"memory to share needs Linux; this is {sys.platform}")
    try:
        stream = await anyio.connect_unix(place)
    except OSError as error:
        raise DeviceError(f"nobody serves memory at {place}: {error.strerror}") from error
    async with stream, PoolClient(stream) as client:
        yield client


async def send_memory(stream: UNIXSocketStream, memory: SharedMemory, size: int) -> None:
    """Hand memory to the process at the other end; its first `size` bytes are meant."""
    if not 0 <= size <= memory.size:
        raise DeviceError(f"{size} bytes are meant, and the memory has {memory.size}")
    await stream.send_fds(_told({"size": size}), [memory.fd])


async def receive_memory(stream: UNIXSocketStream) -> tuple[SharedMemory, int]:
    """Take memory that was handed over, to be read; with how many of its bytes are meant.

    Raises:
        DeviceError: what came is no such memory, or the other end is gone.
    """
    fds = list[int]()
    try:
        text, fds = await _received(stream)
        size = json.loads(text)["size"]
    except (*_GONE, ValueError, KeyError, TypeError, RecursionError) as error:
        _closed(fds)
        raise DeviceError("no memory came") from error
    if not fds:
        raise DeviceError("no memory came with the message")
    memory = adopt(fds[0])
    if not isinstance(size, int) or not 0 <= size <= memory.size:
        found = memory.size
        memory.close()
        raise DeviceError(f"the memory that came has {found} bytes, and {size!r} are meant")
    return memory, size

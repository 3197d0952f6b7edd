"""Answers, outside of a sandbox, the connections that programs make inside."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import ByteStream, SocketListener

__all__ = ["MOST_CONNECTIONS", "serve_inside"]

MOST_CONNECTIONS = 64
"""Connections of one program that are open at a time; further ones wait until one is closed.

Each takes descriptors of this process, of which all agents of a run have the same few.
"""

_AGAIN_S = 0.1


async def serve_inside(
    listener: SocketListener, handler: Callable[[ByteStream], Awaitable[None]]
) -> None:
    """Hand every connection to who answers it; what breaks one ends no other."""
    places = anyio.Semaphore(MOST_CONNECTIONS)

    async def answered(stream: ByteStream) -> None:
        try:
            async with stream:
                with contextlib.suppress(
                    anyio.BrokenResourceError, anyio.ClosedResourceError, OSError
                ):
                    await handler(stream)
        finally:
            places.release()

    async with listener, anyio.create_task_group() as group:
        while True:
            await places.acquire()
            group.start_soon(answered, await _accepted(listener))


async def _accepted(listener: SocketListener) -> ByteStream:
    """The next connection, as soon as this process has a descriptor for it."""
    while True:
        try:
            return await listener.accept()
        except OSError:
            await anyio.sleep(_AGAIN_S)

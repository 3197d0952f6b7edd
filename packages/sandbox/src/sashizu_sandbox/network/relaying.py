"""Bytes between a program and a server, both ways, with caps."""

from __future__ import annotations

from dataclasses import dataclass

import anyio
from anyio.abc import ByteStream

__all__ = ["Limits", "relay"]

_RECEIVED = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection through the proxy may take.

    `head_bytes` and `head_s` are for the request's headers, and again for the first message of
    TLS; `idle_s` without a byte in either direction; `connection_s` from accept to end; `bytes_` in
    one direction; `connections` at once.
    """

    head_bytes: int = 64 * 1024
    head_s: float = 10.0
    idle_s: float = 120.0
    connection_s: float = 1800.0
    bytes_: int = 2 * 1024**3
    connections: int = 64


class _Clock:
    """When a byte was last seen, in either direction."""

    def __init__(self) -> None:
        self.last = anyio.current_time()


async def relay(first: ByteStream, second: ByteStream, limits: Limits) -> None:
    """Pass bytes on until both sides ended, one broke, or a limit is reached. Closes neither."""
    clock = _Clock()
    async with anyio.create_task_group() as group:

        async def pass_on(source: ByteStream, target: ByteStream) -> None:
            if not await _pump(source, target, limits, clock):
                group.cancel_scope.cancel()

        group.start_soon(pass_on, first, second)
        group.start_soon(pass_on, second, first)


async def _pump(source: ByteStream, target: ByteStream, limits: Limits, clock: _Clock) -> bool:
    """Pass on one direction; False if the connection is over for both."""
    passed = 0
    try:
        while (data := await _next(source, limits, clock)) is not None:
            passed += len(data)
            if passed > limits.bytes_:
                return False
            with anyio.fail_after(limits.idle_s):
                await target.send(data)
        await target.send_eof()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        return False  # a TimeoutError is an OSError
    return True


async def _next(source: ByteStream, limits: Limits, clock: _Clock) -> bytes | None:
    """What comes next; None at the end.

    Raises:
        TimeoutError: nothing passed in either direction for too long.
    """
    while True:
        with anyio.CancelScope(deadline=clock.last + limits.idle_s):
            try:
                data = await source.receive(_RECEIVED)
            except anyio.EndOfStream:
                return None
            clock.last = anyio.current_time()
            return data
        if clock.last + limits.idle_s <= anyio.current_time():
            raise TimeoutError

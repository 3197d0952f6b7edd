"""How many agents work at once, where agents wait for agents."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

import anyio

__all__ = ["WorkSlot"]


class WorkSlot:
    """One agent's place among those that work at once.

    Whoever waits for an agent below it lends its place meanwhile, and asks for one again when the
    last of them has ended: nobody who holds a place waits for somebody who needs one.
    """

    __slots__ = ("_held", "_limiter", "_lock", "_waits")

    def __init__(self, limiter: anyio.CapacityLimiter) -> None:
        self._limiter = limiter
        self._held = False
        self._waits = 0
        self._lock = anyio.Lock()

    async def __aenter__(self) -> Self:
        await self._take()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._give()

    @asynccontextmanager
    async def lent(self) -> AsyncGenerator[None]:
        """Let somebody else work until the block ends; blocks of one agent may overlap."""
        self._waits += 1
        self._give()
        try:
            yield
        finally:
            self._waits -= 1
            await self._take()

    async def _take(self) -> None:
        async with self._lock:
            if self._waits or self._held:
                return
            await self._limiter.acquire_on_behalf_of(self)
            self._held = True
        self._lend_on()

    def _lend_on(self) -> None:
        """Another block may have begun while this one asked for a place."""
        if self._waits:
            self._give()

    def _give(self) -> None:
        if self._held:
            self._held = False
            self._limiter.release_on_behalf_of(self)

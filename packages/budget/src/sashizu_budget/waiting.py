"""Who waits for room, and in which order.

A waiter stands in the queue of one node: the lowest of its path where the amount does not fit, or
where somebody older waits. Only the head of a queue is called, and it keeps its place until its
task runs: until then `reserve` lets nobody overtake. When its obstacle moves to another level, the
waiter moves there and stands in by its ticket, so that a large amount is never starved by small
ones that came later. Who asks for other units than those who wait is not held up by them.

Everything here happens under the lock of the tree; only `called` is awaited, without it.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import anyio
from anyio.lowlevel import EventLoopToken, current_token
from sashizu_core.protocols import Busy, Refused

from sashizu_budget.units import Four

__all__ = ["Obstacle", "Queue", "Waiter"]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why an amount does not go through now: the node with its queue, and the unit there.

    `final` says that waiting is of no use, `closed` that the node takes nothing any more.
    """

    queue: Queue
    name: str
    unit: str
    asked: int
    left: int
    final: bool
    closed: bool = False

    def answer(self) -> Busy | Refused:
        if self.final:
            return Refused(self.name, self.unit, self.asked, self.left, self.closed)
        return Busy(self.name, self.unit, self.asked, self.left)


class Waiter:
    """A task that waits for an amount. `look` says what is in its way, given its ticket."""

    __slots__ = ("_event", "_look", "_queue", "_thread", "_token", "asked", "ticket")

    def __init__(self, ticket: int, asked: Four, look: Callable[[int], Obstacle | None]) -> None:
        self.ticket = ticket
        self.asked = asked
        self._look = look
        self._queue: Queue | None = None
        self._event = anyio.Event()
        self._thread = get_ident()
        self._token = current_token()

    async def called(self) -> None:
        """Wait to be called."""
        await self._event.wait()

    def call(self) -> None:
        """Let the task look again, from any thread."""
        if get_ident() == self._thread:
            self._event.set()
        else:
            _call_soon(self._token, self._event.set)

    def obstacle(self) -> Obstacle | None:
        return self._look(self.ticket)

    def wait_at(self, queue: Queue) -> None:
        """Stand in at a queue, by ticket, and wait for the next call."""
        if self._event.is_set():
            self._event = anyio.Event()
        self.move_to(queue)

    def move_to(self, queue: Queue | None) -> None:
        """Change the queue, or leave all of them; whoever comes next in the old one may look."""
        old = self._queue
        if old is not queue:
            self.switch_to(queue)
            if old is not None:
                old.advance()

    def switch_to(self, queue: Queue | None) -> None:
        """Change the queue, and nothing else."""
        if self._queue is not None:
            self._queue.remove(self)
        if queue is not None:
            queue.insert(self)
        self._queue = queue


class Queue:
    """Those who wait at one node, oldest ticket first; `waiters` is always the same list."""

    __slots__ = ("_asking", "waiters")

    def __init__(self) -> None:
        self.waiters: list[Waiter] = []
        self._asking = [0, 0, 0, 0]  # how many of them ask for each unit

    def __bool__(self) -> bool:
        return bool(self.waiters)

    def has_before(self, ticket: int) -> bool:
        """Whether somebody waits here who came earlier."""
        return bool(self.waiters) and self.waiters[0].ticket < ticket

    def shares(self, asked: Four) -> bool:
        """Whether somebody waits here who asks for a unit of this amount as well."""
        return any(wanted and n for wanted, n in zip(asked, self._asking, strict=True))

    def insert(self, waiter: Waiter) -> None:
        insort(self.waiters, waiter, key=lambda other: other.ticket)
        self._count(waiter, 1)

    def remove(self, waiter: Waiter) -> None:
        self.waiters.remove(waiter)
        self._count(waiter, -1)

    def _count(self, waiter: Waiter, change: int) -> None:
        for i, wanted in enumerate(waiter.asked):
            if wanted:
                self._asking[i] += change

    def advance(self) -> None:
        """Call the head if it may go; send on everybody who now waits for another node."""
        while self.waiters:
            head = self.waiters[0]
            obstacle = head.obstacle()
            if obstacle is None or obstacle.final:
                head.call()
                return
            if obstacle.queue is self:
                return
            head.switch_to(obstacle.queue)


def _call_soon(token: EventLoopToken, callback: Callable[[], None]) -> None:
    """Call in the thread of an event loop, without waiting for it; asyncio's or trio's."""
    loop: Any = token.native_token
    soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    try:
        soon(callback)
    except RuntimeError:
        return  # the loop has ended, and with it the task that waited

"""What one process has drawn from a lease, and who waits there for more."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable
from threading import get_ident
from weakref import WeakSet

import anyio
from sashizu_core.types import UNITS, Limits

from sashizu_budget.nodes import Node
from sashizu_budget.spend_store import LeaseRow, Shortage, SpendStore
from sashizu_budget.units import Four

__all__ = ["Drawn", "Waiting"]

POLL_S = 0.05
"""How often somebody looks who waits for what another process holds, in seconds."""

NONE: Four = (0, 0, 0, 0)


class Drawn:
    """What one process has drawn from a lease; its root is that large.

    `booked` is what of the root's spending the row knows of, `spare` what is kept for the next call
    when there is more than that.
    """

    def __init__(self, store: SpendStore, row: LeaseRow, chunk: int) -> None:
        self.store = store
        self.row = row
        self.chunk = chunk
        limits = {unit: None if row.limits[i] is None else 0 for i, unit in enumerate(UNITS)}
        self.root = Node(row.name, Limits(**limits))
        self.line: deque[Waiting] = deque()
        self.left = False
        self._booked: Four = NONE
        self._spare: Four = NONE
        _drawn.add(self)

    @property
    def limits(self) -> Limits:
        tokens, nusd, requests, agents = self.row.limits
        bounds = json.loads(self.row.bounds)
        return Limits(tokens=tokens, nusd=nusd, requests=requests, agents=agents, **bounds)

    def need(self, asked: Four) -> Four:
        """What has to be drawn before an amount fits into the root."""
        root = self.root
        return _four(
            max(0, asked[i] + root._taken[i] - root._ceiling[i]) if asked[i] else 0
            for i in range(len(UNITS))
        )

    def top_up(self, asked: Four) -> Shortage | None:
        """Draw until an amount fits; says why that is not possible. The tree's lock is taken."""
        need = self.need(asked)
        if not any(need):
            return None
        spent = self._unbooked()
        answer = self.store.draw(self.row.lease_id, self.chunk, spent, need, asked)
        if isinstance(answer, Shortage):
            if answer.ended:
                self.root._shut = True
            else:
                self._booked = _plus(self._booked, spent)
            return answer
        self._booked = _plus(self._booked, spent)
        drawn, self._spare = answer
        self.root._ceiling = _plus(self.root._ceiling, drawn)
        return None

    def hopeless(self, asked: Four) -> Shortage | None:
        """Why an amount cannot fit even if nothing were held; None if it could."""
        if not any(self.need(asked)):
            return None
        row, unbooked = self.store.row(self.row.lease_id), self._unbooked()
        for i, wanted in enumerate(asked):
            limit, left = row.limits[i], row.left(i)
            if limit is not None and wanted > limit - row.spent[i] - unbooked[i]:
                return Shortage(i, left or 0, final=True, ended=row.ended)
        return None

    def trim(self) -> None:
        """Give back what is not needed. The tree's lock is taken."""
        idle = not any(self.root._held)
        if self.left or (self.line and not idle):
            return
        free = _four(
            self.root._ceiling[i] - self.root._taken[i] if self.row.limits[i] is not None else 0
            for i in range(len(UNITS))
        )
        # Who is idle keeps nothing, and owes the row no bill: another process may wait for either.
        if not idle and not any(free[i] > 2 * self._spare[i] for i in range(len(UNITS))):
            return
        kept = NONE if idle else self._spare
        back = _four(max(0, free[i] - kept[i]) for i in range(len(UNITS)))
        if not any(back) and not any(self._unbooked()):
            return
        self.root._ceiling = _minus(self.root._ceiling, back)
        self.book(back)

    def book(self, back: Four = NONE) -> None:
        """Tell the row what was spent. The tree's lock is taken."""
        spent = self._unbooked()
        if not self.store.book(self.row.lease_id, self.chunk, spent, back):
            self.root._shut = True
            return
        self._booked = _plus(self._booked, spent)

    def leave(self) -> None:
        """Give back what is left, for good; the root is closed. The tree's lock is taken."""
        if not self.left:
            self.left = True
            self.store.leave(self.row.lease_id, self.chunk, self._unbooked())

    def wake(self) -> None:
        """Let everybody in the line look again."""
        for waiting in tuple(self.line):
            waiting.call()

    def _unbooked(self) -> Four:
        root = self.root
        return _four(root._taken[i] - root._held[i] - self._booked[i] for i in range(len(UNITS)))


class Waiting:
    """Somebody in the line. `at` is the level that has no room for the amount."""

    __slots__ = ("_freed", "_thread", "asked", "at")

    def __init__(self, asked: Four, at: Node) -> None:
        self.asked = asked
        self.at = at
        self._freed = anyio.Event()
        self._thread = get_ident()

    def holds_up(self, asked: Four, path: tuple[Node, ...]) -> bool:
        """Whether somebody who came later has to wait behind this one."""
        return self.at in path and any(a and b for a, b in zip(asked, self.asked, strict=True))

    def call(self) -> None:
        """Let it look again; from another thread it looks by itself before long."""
        if get_ident() == self._thread:
            self._freed.set()

    async def called(self) -> None:
        """Wait until something was freed in this process, or might have been in another."""
        with anyio.move_on_after(POLL_S):
            await self._freed.wait()
        self._freed = anyio.Event()


def _four(values: Iterable[int]) -> Four:
    tokens, nusd, requests, agents = values
    return tokens, nusd, requests, agents


def _plus(one: Four, other: Four) -> Four:
    return _four(a + b for a, b in zip(one, other, strict=True))


def _minus(one: Four, other: Four) -> Four:
    return _four(a - b for a, b in zip(one, other, strict=True))


_drawn: WeakSet[Drawn] = WeakSet()


def _forget_after_fork() -> None:
    """What was drawn belongs to the process that drew it: its copy may spend nothing of it."""
    for drawn in _drawn:
        drawn.left = True
        drawn.root._shut = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)

"""What one process has drawn from a lease or from windows, and who waits there for more."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from threading import Timer, get_ident
from time import monotonic
from weakref import WeakSet

import anyio
from sashizu_core.drawing import Shortage, Source
from sashizu_core.errors import SashizuError
from sashizu_core.types import UNITS, Limits, SpendWindow

from sashizu_budget.drawn_holds import DrawnHold
from sashizu_budget.nodes import Node
from sashizu_budget.units import Four

__all__ = ["Drawn", "Waiting"]

POLL_S = 0.05
"""How often somebody looks who waits for what another process holds, in seconds."""

NONE: Four = (0, 0, 0, 0)


class Drawn:
    """What one process has drawn; its root is that large, and `top` the node that users begin at.

    `booked` is what of the root's spending the rows know of, `spare` what is kept for the next call
    when there is more than that.
    """

    def __init__(self, source: Source, name: str = "", limits: Limits | None = None) -> None:
        self.source = source
        empty = {unit: 0 if source.drawn_units[i] else None for i, unit in enumerate(UNITS)}
        self.root = Node(source.name, Limits(**empty), holding=partial(DrawnHold, self))
        self.top = self.root if limits is None else self.root.open(name, limits)
        self.line: deque[Waiting] = deque()
        self.left = False
        self.now_ns = source.now_ns
        self.until_ns = source.until_ns
        self.quiet_until = 0.0
        self.timer: Timer | None = None
        self._booked: Four = NONE
        self._spare: Four = NONE
        self._taken_before: tuple[int, ...] = NONE
        _drawn.add(self)

    def need(self, asked: Four, back: Four = NONE) -> Four:
        """What has to be drawn before an amount fits into the root, after some is given back."""
        root = self.root
        return _four(
            max(0, asked[i] + root._taken[i] - root._ceiling[i] + back[i]) if asked[i] else 0
            for i in range(len(UNITS))
        )

    def stale(self) -> bool:
        """Whether what was drawn has to be drawn anew before it is used."""
        return self.now_ns() >= self.until_ns

    def top_up(self, asked: Four) -> Shortage | None:
        """Draw until an amount fits; says why that is not possible. The tree's lock is taken."""
        stale = self.stale()
        back = self._free() if stale else NONE
        need = self.need(asked, back)
        if not stale and not any(need):
            return None
        root, spent = self.root, self._unbooked()
        answer = self.source.draw(spent, back, need, asked)
        self._spoke()
        if isinstance(answer, Shortage) and answer.ended:
            root._shut = True
            return answer
        self._booked = _plus(self._booked, spent)
        root._ceiling = _minus(root._ceiling, back)
        if isinstance(answer, Shortage):
            return answer
        drawn, self._spare = answer
        self.until_ns = self.source.until_ns
        root._ceiling = _plus(root._ceiling, drawn)
        return None

    def hopeless(self, asked: Four) -> Shortage | None:
        """Why an amount cannot fit even if nothing were held; None if it could."""
        if not any(self.need(asked)):
            return None
        return self.source.hopeless(asked, self._unbooked(), self._free())

    def windows(self) -> Sequence[SpendWindow]:
        """The windows of spend as they stand, with what this process has spent of them."""
        with self.root._lock:
            return self.source.windows(self._unbooked(), self._free())

    def trim(self) -> None:
        """Give back what is not needed. The tree's lock is taken."""
        idle = not any(self.root._held)
        if self.left or (self.line and not idle):
            return
        if not self.line and monotonic() < self.quiet_until:
            return
        free = self._free()
        # Who is idle keeps nothing, and owes the rows no bill: another process may wait for either.
        if not idle and not any(free[i] > 2 * self._spare[i] for i in range(len(UNITS))):
            return
        kept = NONE if idle else self._spare
        back = _four(max(0, free[i] - kept[i]) for i in range(len(UNITS)))
        if not any(back) and not any(self._unbooked()):
            return
        self.root._ceiling = _minus(self.root._ceiling, back)
        self.book(back)

    def trim_later(self) -> None:
        """Have a process that stays idle give back what it keeps for the next call.

        Nobody else can tell it to: its own thread may wait for something else for hours.
        """
        self._taken_before = tuple(self.root._taken)
        self.timer = timer = Timer(self.source.keeps_s, self._trim_now)
        timer.daemon = True
        timer.start()

    def _trim_now(self) -> None:
        with self.root._lock:
            self.timer = None
            if not self.left and not self.line and self._taken_before != tuple(self.root._taken):
                self.trim_later()  # its calls are so short that it was never idle for long
                return
            with suppress(SashizuError):  # whoever reserves next is told
                self.trim()
        self.wake()

    def book(self, back: Four = NONE) -> None:
        """Tell the rows what was spent. The tree's lock is taken."""
        spent = self._unbooked()
        if not self.source.book(spent, back):
            self.root._shut = True
            return
        self._spoke()
        self._booked = _plus(self._booked, spent)

    def leave(self) -> None:
        """Give back what is left, for good; the root is closed. The tree's lock is taken."""
        if not self.left:
            self.left = True
            if self.timer is not None:
                self.timer.cancel()
            self.source.leave(self._unbooked())

    def end(self) -> None:
        """Close the root: what is held is charged, and the rest given back."""
        self.root.close()
        with self.root._lock:
            self.leave()
        self.wake()

    def wake(self) -> None:
        """Let everybody in the line look again."""
        for waiting in tuple(self.line):
            waiting.call()

    def free(self, unit: int) -> int:
        """What is drawn of a unit and neither spent nor held."""
        return max(0, self.root._ceiling[unit] - self.root._taken[unit])

    def _free(self) -> Four:
        return self._limited(self.free(i) for i in range(len(UNITS)))

    def _limited(self, values: Iterable[int]) -> Four:
        """Only of units that have to be drawn."""
        drawn = self.source.drawn_units
        return _four(value if drawn[i] else 0 for i, value in enumerate(values))

    def _spoke(self) -> None:
        self.quiet_until = monotonic() + self.source.keeps_s

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

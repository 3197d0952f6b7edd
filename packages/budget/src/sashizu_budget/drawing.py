"""Nodes of a tree whose root is as large as what a process has drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anyio.lowlevel import checkpoint_if_cancelled
from sashizu_core.drawing import Shortage
from sashizu_core.errors import BudgetRefused
from sashizu_core.protocols import Busy, Hold, Refused
from sashizu_core.types import UNITS, Amount, BudgetState, Limits, SpendWindow

from sashizu_budget.drawn import Drawn, Waiting
from sashizu_budget.holds import LedgerHold
from sashizu_budget.nodes import Node
from sashizu_budget.units import Four, first_asked, four, index_of

__all__ = ["DrawingNode"]


class DrawingNode:
    """A node of a tree that is as large as what was drawn; see `BudgetNode`. Thread-safe."""

    __slots__ = ("_drawn", "_my_turn", "_node", "_reserve")

    def __init__(self, drawn: Drawn, node: Node) -> None:
        self._drawn = drawn
        self._node = node
        self._reserve = node.reserve
        self._my_turn = False

    @property
    def node_id(self) -> str:
        return self._node.node_id

    @property
    def name(self) -> str:
        return self._node.name

    def open(self, name: str, limits: Limits) -> DrawingNode:
        """Make a child."""
        return DrawingNode(self._drawn, self._node.open(name, limits))

    def go_first(self) -> None:
        """Let the next reservation go before those who wait."""
        self._my_turn = True

    def reserve(self, amount: Amount) -> Hold | Busy | Refused:
        """Reserve on every level up to what was drawn, drawing more where that is needed."""
        drawn = self._drawn
        if not drawn.line and drawn.now_ns() < drawn.until_ns:  # all of it in memory
            fits = self._reserve(amount)
            if isinstance(fits, LedgerHold):
                self._my_turn = False
                return fits
        node, asked = self._node, four(amount)
        turn, self._my_turn = self._my_turn, False
        with node._lock:
            if (answer := self._below(asked)) is not None:
                return answer
            if not turn and any(each.holds_up(asked, node._path) for each in drawn.line):
                return self._busy(asked)
            short = drawn.top_up(asked)
        if short is not None:
            return self._answer(asked, short)
        return node.reserve(amount)

    def _below(self, asked: Four) -> Busy | Refused | None:
        """What the levels below the lease, and a closed root, have against an amount."""
        node = self._node
        if self._drawn.root._shut:
            unit = first_asked(asked)
            return Refused(self._drawn.root.name, UNITS[unit], asked[unit], 0, closed=True)
        busy: Busy | None = None
        for level in node._path[:-1]:
            found = level._obstacle_here(asked, node._turn)
            answer = found.answer() if found is not None else None
            if isinstance(answer, Refused):
                return answer
            busy = busy or answer
        if busy is not None and (short := self._drawn.hopeless(asked)) is not None:
            return self._answer(asked, short)
        return busy

    def _answer(self, asked: Four, short: Shortage) -> Busy | Refused:
        name, unit = short.name or self._drawn.root.name, UNITS[short.unit]
        left = short.left + self._drawn.free(short.unit)
        if short.final:
            left = 0 if short.ended else left
            return Refused(name, unit, asked[short.unit], left, short.ended, short.remedy)
        return Busy(name, unit, asked[short.unit], left)

    def _busy(self, asked: Four) -> Busy:
        unit = first_asked(asked)
        left = self.left(UNITS[unit])
        return Busy(self._drawn.root.name, UNITS[unit], asked[unit], left or 0)

    async def room(self, amount: Amount) -> None:
        """Wait until `reserve` may succeed; who waits for other processes asks again and again.

        Raises:
            BudgetRefused: it can not fit any more.
        """
        asked = four(amount)
        waiting = Waiting(asked, self._drawn.root)
        line = self._drawn.line
        with self._node._lock:
            line.append(waiting)
        try:
            while True:
                answer = self._look(waiting)
                if answer is None:
                    break
                if isinstance(answer, Refused):
                    raise BudgetRefused(
                        answer.node,
                        answer.unit,
                        answer.asked,
                        answer.left,
                        answer.closed,
                        answer.remedy,
                    )
                await waiting.called()
        finally:
            with self._node._lock:
                line.remove(waiting)
            self._drawn.wake()
        self._my_turn = True
        await checkpoint_if_cancelled()

    def _look(self, waiting: Waiting) -> Busy | Refused | None:
        """What is in the way now of somebody in the line; None for nothing."""
        with self._node._lock:
            waiting.at = self._drawn.root
            for level in self._node._path[:-1]:
                if level._obstacle_here(waiting.asked, self._node._turn) is not None:
                    waiting.at = level
                    break
            if (answer := self._below(waiting.asked)) is not None:
                return answer
            for other in self._drawn.line:
                if other is waiting:
                    break
                if other.holds_up(waiting.asked, self._node._path):
                    return self._busy(waiting.asked)
            short = self._drawn.top_up(waiting.asked)
        return None if short is None else self._answer(waiting.asked, short)

    def left(self, unit: str) -> int | None:
        """The most that could be reserved now, what can still be drawn included.

        Raises:
            ValueError: there is no such unit.
        """
        i = index_of(unit)
        drawn, node = self._drawn, self._node
        if any(level._shut for level in node._path):
            return 0
        lefts = [
            limit - level._taken[i]
            for level in node._path[:-1]
            if (limit := getattr(level._limits, unit)) is not None
        ]
        if drawn.source.drawn_units[i]:
            free = 0 if drawn.stale() else drawn.free(i)
            lefts.append(free + drawn.source.more(i))
        return max(0, min(lefts)) if lefts else None

    def limited(self, unit: str) -> bool:
        """Whether this node, an ancestor or the lease limits the unit."""
        return self._node.limited(unit)

    def state(self) -> BudgetState:
        """The node as it is in this process; the root of a lease has the limits of the lease."""
        return self._shown(self._node.state())

    def windows(self) -> Sequence[SpendWindow]:
        """The windows of spend above it; see `WindowedNode`.

        Raises:
            SashizuError: they cannot be read.
        """
        return self._drawn.windows()

    def close(self) -> BudgetState:
        """End the node. Closing the top one gives back what is left of what was drawn."""
        state = self._node.close()
        with self._node._lock:
            if self._node is self._drawn.top:
                self._drawn.leave()
            else:
                self._drawn.trim()
        self._drawn.wake()
        return self._shown(state)

    def _shown(self, state: BudgetState) -> BudgetState:
        if self._node is not self._drawn.root:
            return state
        return replace(state, limits=self._drawn.source.limits)

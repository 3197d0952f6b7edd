"""Reservations in what a process has drawn."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from sashizu_core.types import Amount

from sashizu_budget.holds import NO_EXCESS, LedgerHold
from sashizu_budget.units import Four, four

if TYPE_CHECKING:
    from sashizu_budget.drawn import Drawn
    from sashizu_budget.nodes import Node

__all__ = ["DrawnHold"]


class DrawnHold(LedgerHold):
    """A hold of what was drawn; when it ends, what is not needed any more is given back."""

    __slots__ = ("_drawn",)

    def __init__(self, drawn: Drawn, node: Node, amount: Amount, asked: Four) -> None:
        self._drawn = drawn
        self._node = node
        self._asked = asked
        self.amount = amount

    def settle(self, actual: Amount) -> Amount:
        """Book what was billed; an excess is in the row before anything else is done."""
        over = self._node._end(self, self._asked, four(actual))
        drawn = self._drawn
        if over is NO_EXCESS:
            if drawn.timer is None or drawn.line:
                self._trim()
            return over
        with drawn.root._lock:
            if not drawn.left:
                drawn.book()
        drawn.wake()
        return over

    def charge(self) -> None:
        """Book the hold in full."""
        super().charge()
        self._trim()

    def release(self) -> None:
        """Give the hold back."""
        super().release()
        self._trim()

    def _trim(self) -> None:
        drawn = self._drawn
        if not drawn.line and monotonic() < drawn.quiet_until:
            if drawn.timer is None:
                drawn.trim_later()
            return
        with drawn.root._lock:
            drawn.trim()
        drawn.wake()

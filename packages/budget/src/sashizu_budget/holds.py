"""Reservations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sashizu_core.types import Amount

from sashizu_budget.units import Four, four

if TYPE_CHECKING:
    from sashizu_budget.nodes import Node

__all__ = ["NO_EXCESS", "LedgerHold"]

NO_EXCESS = Amount()
"""What a bill within its hold exceeds it by; this very object."""


class LedgerHold:
    """A reservation at one node, until `settle`, `charge` or `release` ends it."""

    __slots__ = ("_asked", "_node", "amount")

    def __init__(self, node: Node, amount: Amount, asked: Four) -> None:
        self._node = node
        self._asked = asked
        self.amount = amount

    def settle(self, actual: Amount) -> Amount:
        """Book what was billed; returns by how much it exceeds the hold.

        Raises:
            ValueError: a quantity is below zero.
        """
        return self._node._end(self, self._asked, four(actual))

    def charge(self) -> None:
        """Book the hold in full."""
        self._node._end(self, self._asked, self._asked)

    def release(self) -> None:
        """Give the hold back."""
        self._node._end(self, self._asked, (0, 0, 0, 0))

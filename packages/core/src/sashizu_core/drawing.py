"""Trees of a budget that stand on rows which several processes share.

The ledger of a process keeps the tree, the holds and who waits; where the rows lie and how they are
changed is the source's. So a file of this machine and a database of many need one ledger.

Quantities come as four whole numbers, in the order of `UNITS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from sashizu_core.protocols import Budget, BudgetNode
from sashizu_core.types import Limits, SpendWindow

__all__ = ["NEVER_NS", "DrawingBudget", "Four", "Shortage", "Source"]

Four = tuple[int, int, int, int]

NEVER_NS = 1 << 63
"""The time at which nothing has to be drawn anew, in Unix nanoseconds."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why an amount cannot be drawn: the unit, what is left of it, whether waiting is of use.

    `final` says that it would not fit if nothing were held, `ended` that nothing will ever fit.
    `name` is what has no more of it where that is not the source; `remedy` what to do about it.
    """

    unit: int
    left: int
    final: bool
    ended: bool = False
    name: str = ""
    remedy: str = ""


class Source(Protocol):
    """Where a process draws from: rows that it shares with others.

    `drawn_units` says of each unit whether it has to be drawn; the others are only counted. For
    `keeps_s` seconds, or up to twice as long, a process that is idle keeps what it drew.
    """

    @property
    def name(self) -> str: ...

    @property
    def drawn_units(self) -> Sequence[bool]: ...

    @property
    def limits(self) -> Limits:
        """What the root is said to be limited to."""
        ...

    @property
    def keeps_s(self) -> float: ...

    def now_ns(self) -> int:
        """The wall clock, in Unix nanoseconds."""
        ...

    @property
    def until_ns(self) -> int:
        """When what was drawn has to be drawn anew, in Unix nanoseconds."""
        ...

    def draw(
        self, spent: Four, back: Four, need: Four, asked: Four
    ) -> tuple[Four, Four] | Shortage:
        """Book what was spent, give back, and draw what is needed and a little more, or nothing.

        `asked` is the whole amount that has to fit, `need` what is missing for it. Returns what was
        drawn, and the part of it that was not needed.
        """
        ...

    def book(self, spent: Four, back: Four) -> bool:
        """Book what was spent and give back; False if nothing is drawn any more."""
        ...

    def leave(self, spent: Four) -> None:
        """Book what was spent and give back all else, for good."""
        ...

    def hopeless(self, asked: Four, unbooked: Four, free: Four) -> Shortage | None:
        """Why an amount cannot fit even if nothing were held; None if it could.

        `unbooked` is spent of what was drawn, and `free` neither spent nor held.
        """
        ...

    def more(self, unit: int) -> int:
        """How much could be drawn now."""
        ...

    def windows(self, unbooked: Four, free: Four) -> Sequence[SpendWindow]:
        """The windows of spend that it draws from, told of what they do not know.

        `unbooked` is spent of what was drawn, and `free` neither spent nor held.
        """
        ...


@runtime_checkable
class DrawingBudget(Budget, Protocol):
    """A ledger that can have a tree on rows of somebody else's."""

    def drawn_from(self, source: Source) -> BudgetNode:
        """Begin a tree whose root is as large as what this process draws from a source.

        It has the name and the limits of the source. Closing it gives back what is left.
        """
        ...

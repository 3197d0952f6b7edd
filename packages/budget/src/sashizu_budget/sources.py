"""What a process draws from: rows that it shares with others, of a lease or of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sashizu_core.types import Limits, SpendWindow

from sashizu_budget.spend_rows import Shortage
from sashizu_budget.units import Four

__all__ = ["NEVER_NS", "Source"]

NEVER_NS = 1 << 63
"""The time at which nothing has to be drawn anew, in Unix nanoseconds."""


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

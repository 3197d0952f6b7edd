"""How much of the limits that an agent is under is used up, and what is left of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import anyio

from sashizu_core.protocols import BudgetNode, WindowedNode
from sashizu_core.types import UNITS

__all__ = ["Clock", "Standing", "Used"]

STOPPING = ("tokens", "nusd", "requests")
"""Units without which no model call can be made; an agent goes on without starting others."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A deadline: whose it is, since when it runs and when it ends, in `anyio.current_time()`."""

    name: str
    started: float
    ends: float


@dataclass(frozen=True, slots=True)
class Used:
    """How far one limit is used up.

    `name` is the node that has it, `unit` one of the ledger's, or `seconds`; `spent` and `limit`
    are in that unit. `node_id` is empty for time, and for a window of spend, which `window` says it
    is; a window counts as a limit as large as what was left of it when the run began.
    """

    name: str
    unit: str
    spent: float
    limit: float
    node_id: str = ""
    window: bool = False

    @property
    def share(self) -> float:
        """From 0 for nothing to 1 for all of it, and above after an overrun."""
        return self.spent / self.limit if self.limit else 1.0


class Standing:
    """What an agent has used up, and may still use.

    `nodes` are its own node of the ledger and those above it, its own first; none without a ledger.
    `clocks` gives the deadlines that run. `before` is what was spent of each window of spend when
    the run began, by its name and the unit.
    """

    def __init__(
        self,
        nodes: Sequence[BudgetNode],
        clocks: Callable[[], Sequence[Clock]] = tuple,
        before: Mapping[tuple[str, str], int] | None = None,
    ) -> None:
        self._nodes = tuple(nodes)
        self._clocks = clocks
        self._before = before or {}
        self._windowed = next((n for n in self._nodes if isinstance(n, WindowedNode)), None)

    def nearest(self) -> Used | None:
        """The limit of which the largest share is used up; None without limits.

        What is held for calls in flight is not used up: most of it comes back.
        """
        return max(self._used(), key=lambda used: used.share, default=None)

    def _used(self) -> Iterator[Used]:
        yield from self._counted()
        now = anyio.current_time()
        for clock in self._clocks():
            yield Used(clock.name, "seconds", now - clock.started, clock.ends - clock.started)

    def _counted(self) -> Iterator[Used]:
        for node in self._nodes:
            state = node.state()
            for unit in STOPPING:
                limit = getattr(state.limits, unit)
                if limit is not None:
                    spent = getattr(state.spent, unit)
                    yield Used(state.name, unit, spent, limit, state.node_id)
        for window in self._windowed.windows() if self._windowed is not None else ():
            for unit in STOPPING:
                if (limit := getattr(window.limits, unit)) is not None:
                    before = self._before.get((window.name, unit), 0)
                    spent = getattr(window.spent, unit) - before
                    yield Used(window.name, unit, spent, max(0, limit - before), window=True)

    def unspent(self) -> Mapping[str, int]:
        """What could be used if nothing were held, of each unit that stops model calls."""
        found: dict[str, int] = {}
        for used in self._counted():
            rest = max(0, int(used.limit - used.spent))
            found[used.unit] = min(rest, found.get(used.unit, rest))
        return found

    def left(self) -> Mapping[str, int]:
        """What can be used at once of each unit that is limited; seconds are rounded down."""
        found: dict[str, int] = {}
        if self._nodes:
            lefts = ((unit, self._nodes[0].left(unit)) for unit in UNITS)
            found = {unit: left for unit, left in lefts if left is not None}
        ends = [clock.ends for clock in self._clocks()]
        if ends:
            found["seconds"] = max(0, int(min(ends) - anyio.current_time()))
        return found

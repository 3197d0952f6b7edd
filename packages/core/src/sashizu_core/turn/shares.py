"""Unspent shares of agents that have ended, for siblings that ask for more.

A share is what an agent's own limits allow it. It is never set aside: limits are ceilings, and the
levels above count what is spent. So passing a share on moves a ceiling from one sibling to another
and changes nothing above them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import anyio

from sashizu_core.protocols import BudgetNode, ShiftingBudget
from sashizu_core.turn.record import Recorder
from sashizu_core.types import Amount, BudgetState

__all__ = ["Share", "SharePools"]

SHARED = ("tokens", "nusd", "requests")
"""What is passed on; agents that an agent may start are not."""

NOTHING = Amount()


class SharePools:
    """The shares of one run.

    At most `jobs` of the agents beneath the run's node begin before one of them has ended; None for
    any number.
    """

    def __init__(self, budget: ShiftingBudget, root: BudgetNode, jobs: int | None) -> None:
        self._budget = budget
        self._pools = {root.node_id: _Pool(budget, jobs)}

    def join(
        self,
        above: BudgetNode,
        node: BudgetNode,
        recorder: Recorder,
        idle: Callable[[], AbstractAsyncContextManager[object]],
    ) -> Share:
        """Take part with a node beneath another; `idle` gives its place up while it waits."""
        pool = self._beneath(above)
        pool.live += 1
        return Share(node, recorder, idle, pool)

    @contextmanager
    def expecting(self, above: BudgetNode) -> Iterator[None]:
        """From the moment when an agent beneath a node is asked for until it has ended."""
        pool = self._beneath(above)
        pool.expected += 1
        try:
            yield
        finally:
            pool.expected -= 1
            pool.look()

    def _beneath(self, above: BudgetNode) -> _Pool:
        return self._pools.setdefault(above.node_id, _Pool(self._budget, None))


@dataclass(eq=False, slots=True)
class Share:
    """One agent's part: `begin` when it starts to work, `leave` when it has ended."""

    node: BudgetNode
    recorder: Recorder
    _idle: Callable[[], AbstractAsyncContextManager[object]]
    _pool: _Pool
    begun: bool = field(default=False, init=False)
    ended: bool = field(default=False, init=False)
    asked: Amount = field(default=NOTHING, init=False)
    stands_still: bool = field(default=False, init=False)
    _answer: anyio.Event | None = field(default=None, init=False)

    def begin(self) -> None:
        """It works from now on, and may leave something when it has ended."""
        if not self.begun:
            self.begun = True
            self._pool.begun += 1

    def leave(self) -> None:
        """It has ended, and its node is closed: what it did not spend is for those that ask."""
        if not self.ended:
            self.ended = True
            self._pool.left_by(self)

    def lacks(self, amount: Amount) -> Amount:
        """By how much its own limits are too small for an amount, whatever those above say."""
        state = self.node.state()
        return Amount(*[max(0, getattr(amount, unit) - _left(state, unit)) for unit in SHARED])

    def draw(self, amount: Amount, least: Amount, why: str = "refused") -> bool:
        """Take at once what it lacks for an amount, or for the least of it; says whether it did."""
        lacking = self.lacks(least)
        if lacking == NOTHING and (self.lacks(amount) == NOTHING or not self._pool.has_any()):
            return False
        return self._pool.give(self, self.lacks(amount), lacking, why)

    def ease(self, at: float) -> bool:
        """Take what keeps it below a share of its limits, as far as it is above; not in part."""
        state, wanted = self.node.state(), []
        for unit in SHARED:
            limit, spent = getattr(state.limits, unit), getattr(state.spent, unit)
            wanted.append(0 if limit is None else max(0, ceil(spent / at) + 1 - limit))
        lacking = Amount(*wanted)
        return lacking != NOTHING and self._pool.give(self, lacking, lacking, "warned")

    @contextmanager
    def asking(self, amount: Amount) -> Iterator[None]:
        """Wait for calls of its own in flight: what a sibling leaves meanwhile may come first."""
        self.asked = amount
        self._pool.asking[self] = None
        try:
            yield
        finally:
            self.asked = NOTHING
            self._pool.asking.pop(self, None)

    async def more(self, amount: Amount) -> bool:
        """Wait for what it lacks; False once nobody at work could leave it any.

        Whoever waits does not work: their place is somebody else's meanwhile.
        """
        if self.lacks(amount) == NOTHING:
            return False
        self._answer = anyio.Event()
        try:
            async with self._idle():
                with self.asking(amount):
                    self.stands_still = True
                    try:
                        self._pool.look()
                        await self._answer.wait()
                    finally:
                        self.stands_still = False
        finally:
            self._answer = None
        return self.lacks(amount) == NOTHING

    def answer(self) -> None:
        """Let it look again, if it waits."""
        self.stands_still = False
        if self._answer is not None:
            self._answer.set()


class _Pool:
    """The agents beneath one node.

    `live` are those that have not ended, and `begun` those of them that have begun. `asking` wait
    for more, in the order in which they came. `expected` are those that were asked for and have not
    ended, where somebody counts them.
    """

    def __init__(self, budget: ShiftingBudget, jobs: int | None) -> None:
        self.live = 0
        self.begun = 0
        self.expected = 0
        self.asking: dict[Share, None] = {}
        self._budget = budget
        self._jobs = jobs
        self._there = dict.fromkeys(SHARED, 0)
        self._givers: dict[str, deque[Share]] = {unit: deque() for unit in SHARED}

    # --- giving -----------------------------------------------------------------------------------

    def left_by(self, share: Share) -> None:
        """Take over what somebody who has ended did not spend."""
        self.live -= 1
        self.begun -= share.begun
        state = share.node.state()
        for unit in SHARED:
            if (left := state.left(unit) or 0) > 0:
                self._there[unit] += left
                self._givers[unit].append(share)
        self.look()

    def has_any(self) -> bool:
        """Whether anything was left."""
        return any(self._there.values())

    def give(self, taker: Share, wanted: Amount, least: Amount, why: str) -> bool:
        """Pass on what is wanted, or at least the least of it, or nothing.

        What is there is split between those that work: more than is asked, so that one call is not
        followed by the next question.
        """
        there = self._there
        if any(getattr(least, unit) > there[unit] for unit in SHARED):
            return False
        amounts = {}
        for unit in SHARED:
            asked, part = getattr(wanted, unit), there[unit] // max(1, self.live)
            amounts[unit] = min(there[unit], max(asked, part)) if asked else 0
        return sum(self._pass_on(taker, unit, amounts[unit], why) for unit in SHARED) > 0

    def _pass_on(self, taker: Share, unit: str, amount: int, why: str) -> int:
        """Pass on so much of one unit, of those that ended first; returns how much went."""
        givers, missing = self._givers[unit], amount
        while missing > 0 and givers:
            giver = givers[0]
            moved = self._budget.shift(giver.node, taker.node, Amount(**{unit: missing}))
            passed = getattr(moved, unit)
            if passed > 0:
                missing -= passed
                self._there[unit] -= passed
                _record(giver, taker, unit, passed, why)
            elif taker.node.state().left(unit) is None or giver.node.state().left(unit):
                break  # the taker takes nothing any more
            if not giver.node.state().left(unit):
                givers.popleft()
        return amount - missing

    # --- those that wait --------------------------------------------------------------------------

    def look(self) -> None:
        """Serve those that ask, the neediest first; send one away where nobody can help."""
        if self.has_any():
            for share in sorted(self.asking, key=_need, reverse=True):
                lacking = share.lacks(share.asked)
                if lacking == NOTHING or self.give(share, lacking, lacking, "waited"):
                    share.answer()
        still = [share for share in self.asking if share.stands_still]
        if still and not self._somebody_works(len(still)):
            max(still, key=_need).answer()  # it ends, and leaves what it has to the others

    def _somebody_works(self, still: int) -> bool:
        """Whether somebody may yet leave something: at work, or next in a queue that moves."""
        if self.expected > self.live or self.begun > still:
            return True
        return self.live > self.begun and (self._jobs is None or self.begun < self._jobs)


def _left(state: BudgetState, unit: str) -> int:
    """What a node has left of its own limit, and more than anybody asks where it has none."""
    left = state.left(unit)
    return 1 << 100 if left is None else left


def _need(share: Share) -> float:
    """How much an agent lacks, as a share of its limits."""
    lacking, limits = share.lacks(share.asked), share.node.state().limits
    shares = [getattr(lacking, unit) / (getattr(limits, unit) or 1) for unit in SHARED]
    return float(max(shares))


def _record(giver: Share, taker: Share, unit: str, amount: int, why: str) -> None:
    state = taker.node.state()
    source = giver.recorder.context
    fields: dict[str, Any] = {
        "budget_id": state.node_id,
        "budget_unit": unit,
        "budget_limit": getattr(state.limits, unit),
        "budget_spent": getattr(state.spent, unit),
        "attrs": {
            "amount": amount,
            "why": why,
            "from": source.get("agent_name"),
            "from_agent_id": source.get("agent_id"),
            "from_budget_id": giver.node.node_id,
        },
    }
    taker.recorder.write([taker.recorder.event("budget.rebalanced", fields)])

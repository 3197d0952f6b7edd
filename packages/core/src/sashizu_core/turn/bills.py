"""What the model calls of one agent cost: billed, charged in doubt, booked in its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sashizu_core.events import Event
from sashizu_core.protocols import Hold, Model
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.reserving import Ledger
from sashizu_core.types import Amount, Bound, ModelRequest, Usage

__all__ = ["Attempt", "Bills"]


@dataclass(slots=True)
class Attempt:
    """What one attempt was allowed."""

    request: ModelRequest
    bound: Bound
    hold: Hold | None
    intent: Sequence[Event]
    seq: int


class Bills:
    """The bills of one agent.

    `used` sums what was billed; `doubtful_tokens` are the holds of attempts that nobody billed.
    """

    __slots__ = ("_billed", "_ledger", "_recorder", "doubtful_tokens")

    def __init__(self, recorder: Recorder, ledger: Ledger | None) -> None:
        self._recorder = recorder
        self._ledger = ledger
        self._billed: list[Usage] = []
        self.doubtful_tokens = 0

    @property
    def used(self) -> Usage:
        return sum(self._billed, Usage(requests=0))

    def add(self, used: Usage) -> None:
        """Count a bill that is booked elsewhere."""
        self._billed.append(used)

    def settle(self, model: Model, attempt: Attempt, usage: Usage | None) -> list[Event]:
        """Book what was billed; without a bill the hold, in doubt."""
        bound = attempt.bound
        self._billed.append(usage or Usage())
        if usage is None:
            self.doubtful_tokens += bound.tokens
        if attempt.hold is None or self._ledger is None:
            return []
        over = Amount()
        if usage is None:
            attempt.hold.charge()
            booked = attempt.hold.amount
        else:
            booked = self._ledger.budget.bill(model.info, usage)
            over = attempt.hold.settle(booked)
        common = {
            "step": attempt.seq,
            "budget_id": self._ledger.node.node_id,
            "budget_unit": "tokens",
            "budget_held": attempt.hold.amount.tokens,
            "budget_spent": booked.tokens,
        }
        attrs = {"nusd": booked.nusd, "in_doubt": usage is None}
        events = [self._recorder.event("budget.settled", {**common, "attrs": attrs})]
        if over != Amount():
            excess = {"tokens": over.tokens, "nusd": over.nusd, "unbounded": attempt.bound.rule}
            events.append(self._recorder.event("budget.overrun", {**common, "attrs": excess}))
        return events

    def release(self, attempt: Attempt) -> list[Event]:
        """Give back the hold of an attempt that cost nothing."""
        if attempt.hold is None or self._ledger is None:
            return []
        attempt.hold.release()
        fields = {
            "step": attempt.seq,
            "budget_id": self._ledger.node.node_id,
            "budget_unit": "tokens",
            "budget_held": attempt.hold.amount.tokens,
        }
        return [self._recorder.event("budget.released", fields)]

    def price(self, model: Model) -> dict[str, Any]:
        """The columns that tell where the price of a call comes from, where one is known."""
        price = self._ledger.budget.price_of(model.info) if self._ledger else None
        if price is None or not price.source:
            return {}
        return {"price_ref": f"{price.source} {price.date}".rstrip()}

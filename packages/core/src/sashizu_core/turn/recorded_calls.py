"""The model calls of an agent that are on record already: what comes next, and what was refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from sashizu_core.errors import BudgetRefused
from sashizu_core.protocols import BudgetNode, Busy, Refused
from sashizu_core.turn.past import AgentPast, StoppedAsRecorded
from sashizu_core.turn.recorded_step import RecordedStep
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import Amount, Outcome, Usage

__all__ = ["RecordedCalls"]

Fields = Mapping[str, Any]


class RecordedCalls:
    """Walks through the recorded calls of one agent, in their order.

    `book` hears of attempts that nobody takes an answer of: their usage, and the tokens that were
    charged without a bill. `node` is where a replay counts what was paid; None for none.
    """

    def __init__(
        self,
        past: AgentPast,
        steps: StepContext,
        node: BudgetNode | None,
        book: Callable[[Usage, int], None],
    ) -> None:
        self.past = past
        self._steps = steps
        self._node = node
        self._book = book

    def next(self) -> RecordedStep | None:
        """The recorded attempt that comes next; None where there is none and the model is asked.

        Raises:
            BudgetRefused: the attempt was refused then.
            StoppedAsRecorded: the agent was stopped here.
            Diverged: there is none, and nothing may be added.
        """
        past, recorder = self.past, self._steps.recorder
        while (found := past.next_of_line()) is not None:
            kind, event = found
            if kind == "budget.degraded":
                break
            past.take_of_line()
            if kind == "budget.refused":
                recorder.write(past.copies([event], recorder))
                raise _refused_as(event)
            known = past.steps[int(event["step"])]
            if known.finished and event.get("op") == "chat":
                self._count(known)
                return known
            self._pass_over(known)
            if past.strict and not known.finished and not known.repeated:
                raise StoppedAsRecorded(past.stop or Outcome.CANCELLED)
        if past.strict:
            self._refuse_more()
        self._steps.go_on_at(past.last_seq + 1)
        return None

    def tried_again(self) -> bool:
        """Whether a failed attempt was followed by another at the same call.

        Where nothing is known of what followed, it is tried again by the usual rules.
        """
        found = self.past.next_of_line()
        return found is not None and found[0] == "model.requested"

    def ended(self) -> bool:
        """Whether nothing more is known, and more may be added."""
        return self.past.next_of_line() is None and not self.past.strict

    def _refuse_more(self) -> NoReturn:
        if self.past.stop is not None:
            raise StoppedAsRecorded(self.past.stop)
        raise self.past.differs(self._steps.count, "no further call of a model", "one more")

    def _pass_over(self, known: RecordedStep) -> None:
        """Repeat what is on record of an attempt that nobody takes an answer of."""
        recorder = self._steps.recorder
        self._steps.go_on_at(known.seq + 1)
        self._count(known)
        every = (*known.before, *known.within, *known.after)
        recorder.write(self.past.copies(every, recorder))
        charged = 0
        if known.intent.get("op") == "chat":  # it was sent, and may be billed
            self._steps.take_seen()  # it told of them
            charged = int(known.first("budget.held").get("budget_held") or 0)
        self._book(Usage(), charged)

    def _count(self, known: RecordedStep) -> None:
        """Count in a replay's ledger what was booked; who goes on has less to begin with."""
        if not self.past.anew(known) or self._node is None:
            return
        booked = booked_for(known)
        hold = self._node.reserve(booked)
        if not isinstance(hold, Busy | Refused):
            hold.settle(booked)


def booked_for(known: RecordedStep) -> Amount:
    """What was booked for a recorded attempt; nothing where its hold was given back."""
    settled = known.first("budget.settled")
    if settled:
        nusd = int((settled.get("attrs") or {}).get("nusd") or 0)
        return Amount(int(settled.get("budget_spent") or 0), nusd, requests=1)
    if known.intent.get("op") == "count_tokens":
        return Amount(requests=1)
    return Amount()


def _refused_as(event: Fields) -> BudgetRefused:
    """A refusal as it was recorded."""
    attrs = event.get("attrs") or {}
    return BudgetRefused(
        str(event.get("budget_id") or ""),
        str(event.get("budget_unit") or ""),
        int(event.get("budget_held") or 0),
        int(attrs.get("left") or 0),
        bool(attrs.get("closed")),
    )

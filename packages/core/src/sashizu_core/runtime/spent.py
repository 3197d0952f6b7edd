"""What a recorded run has spent, and what of its limits that leaves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.recorded_calls import booked_for
from sashizu_core.turn.recorded_step import RecordedStep
from sashizu_core.types import UNITS, Amount, Limits

__all__ = ["less", "spent_by"]


def spent_by(pasts: Iterable[AgentPast], run_id: str | None = None) -> Amount:
    """What these agents were billed; a call whose outcome nobody knows counts with its hold.

    What they only repeated of another run was paid there. With `run_id`, what that one spent.
    """
    total = Amount()
    for past in pasts:
        if _own(past.started, run_id):
            total = total + Amount(agents=1)
        for step in past.steps.values():
            if _own(step.intent, run_id):
                total = total + _of_step(step)
    return total


def _own(event: Mapping[str, Any], run_id: str | None) -> bool:
    """Whether an event is no repetition, and of a run."""
    return event.get("replay_of") is None and run_id in (None, event.get("run_id"))


def _of_step(step: RecordedStep) -> Amount:
    held: Mapping[str, Any] = step.first("budget.held")
    if step.first("budget.settled") or not held:
        return booked_for(step)
    if step.first("budget.released"):
        return Amount()
    nusd = int((held.get("attrs") or {}).get("nusd") or 0)
    return Amount(int(held.get("budget_held") or 0), nusd, requests=1)


def less(limits: Limits, spent: Amount) -> Limits:
    """What of limits is left; never below 0."""
    left = {
        unit: max(0, limit - getattr(spent, unit))
        for unit in UNITS
        if (limit := getattr(limits, unit)) is not None
    }
    return replace(limits, **left)

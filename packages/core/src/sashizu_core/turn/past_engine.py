"""The work of a program of another vendor as it is recorded: its result, and what it did for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio.lowlevel

from sashizu_core.errors import SashizuError
from sashizu_core.turn.answer import read_answer
from sashizu_core.turn.engine import start_of, work_of
from sashizu_core.turn.inference import Inference
from sashizu_core.turn.loop import Ending
from sashizu_core.turn.past import AgentPast, StoppedAsRecorded
from sashizu_core.turn.recorded_step import RecordedStep
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import UNITS, Amount, Outcome, Usage

__all__ = ["RecordedEngineLoop", "worked"]


def worked(past: AgentPast | None) -> bool:
    """Whether what a program gave is on record, or nothing may be added to what is."""
    if past is None:
        return False
    return past.strict or any(
        step.intent.get("tool_type") == "engine" and step.finished for step in past.steps.values()
    )


@dataclass(slots=True)
class RecordedEngineLoop:
    """Stands in for `EngineLoop` where the program has worked: it is not started.

    What it did is one step: its events are taken over as they are, together with those of the
    agents that it was seen to have, which `beneath` writes.
    """

    past: AgentPast
    steps: StepContext
    inference: Inference
    beneath: Callable[[], None]
    criteria: Sequence[str] = ()

    async def run(self) -> Ending:
        """What the program gave.

        Raises:
            SashizuError: it could not be started then, or what it gave is not kept.
            StoppedAsRecorded: it was stopped.
        """
        past, recorder = self.past, self.steps.recorder
        known = start_of(past)
        if known is None:
            if past.stop is not None:
                raise StoppedAsRecorded(past.stop)
            raise SashizuError("the program did not begin to work, as it was recorded")
        recorder.write(past.copies((*known.before, *known.within), recorder))
        self._copy(known.seq)
        self.beneath()
        recorder.write(past.copies(known.after, recorder))
        await anyio.lowlevel.checkpoint()
        return self._ending(known)

    def stopped(self, outcome: Outcome, error: str) -> Ending:
        """The ending of an agent that was stopped."""
        return Ending(outcome, read_answer("", self.criteria), error)

    def _copy(self, seq: int) -> None:
        """Take over what the program did in the agent's name, after it was started."""
        past, recorder = self.past, self.steps.recorder
        own = work_of(past, seq)
        recorder.write(past.copies(own, recorder))
        steps = [int(event["step"]) for event in own if event.get("step") is not None]
        self.steps.go_on_at(max(steps, default=seq) + 1)

    def _ending(self, known: RecordedStep) -> Ending:
        denied = known.first("security.denied")
        if denied:
            return self.stopped(Outcome.FAILED, str(denied.get("decision_reason") or ""))
        if not known.finished:
            raise StoppedAsRecorded(self.past.stop or Outcome.CANCELLED)
        attrs: Mapping[str, Any] = known.outcome.get("attrs") or {}
        self._book(known, attrs)
        text = self.past.content(known.outcome)
        if not text:
            raise SashizuError(f"the program failed: {known.outcome.get('error_type')}")
        told = json.loads(text)
        answer = read_answer(told["answer"], self.criteria)
        return Ending(Outcome(told["outcome"]), answer, told["error"])

    def _book(self, known: RecordedStep, attrs: Mapping[str, Any]) -> None:
        """Count what the program was billed; in a replay its ledger, too."""
        self.inference.book(Usage(**attrs["seen"]), int(attrs["doubtful_tokens"]))
        ledger = self.inference.ledger
        if ledger is None or not self.past.anew(known):
            return
        spent = Amount(**{unit: int(attrs["spent"][unit]) for unit in UNITS})
        hold: Any = ledger.node.reserve(spent)
        hold.settle(spent)

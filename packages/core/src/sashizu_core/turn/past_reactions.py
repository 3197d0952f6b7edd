"""What hooks said before, at the same moment of the same agent: they are not run for it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sashizu_core.errors import SashizuError
from sashizu_core.reactions import Reaction, ReactionEvent
from sashizu_core.reactions.said import Said, counted
from sashizu_core.redaction import Redactor
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.recorded_step import RecordedStep

__all__ = ["PastMoment", "answer_of", "had_hooks", "written_said"]

Fields = Mapping[str, Any]

_HOOK = "run_hook"
_AT_CALLS = ("PreToolUse", "PostToolUse")


@dataclass(frozen=True, slots=True)
class PastMoment:
    """What is on record of one moment: the steps of its hooks, in their order.

    `over` says that the agent went on after it: what did not run then does not run any more.
    """

    steps: tuple[RecordedStep, ...] = ()
    over: bool = False

    @classmethod
    def of(cls, past: AgentPast | None, event: ReactionEvent, at: int) -> PastMoment:
        """The moment of an event at the step `at`; nothing where there is no past."""
        if past is None:
            return cls()
        steps = [step for _, step in sorted(past.steps.items()) if _reacts(step, event, at)]
        return cls(tuple(steps), past.strict or _went_on(past, event, at))

    def cut_off(self, source: str, command: str) -> RecordedStep | None:
        """The step in which a hook was running that nobody heard the end of."""
        found = (step for step in self.steps if not step.finished and _is(step, source, command))
        return next(found, None)

    def heard(self, source: str, command: str) -> bool:
        """Whether the answer of a hook is on record."""
        return any(step.finished and _is(step, source, command) for step in self.steps)


def answer_of(past: AgentPast, step: RecordedStep) -> tuple[Reaction, Said]:
    """Which hook it was, and what its answer counted for.

    Raises:
        SashizuError: it is not kept.
    """
    attrs = _attrs(step.intent)
    event: Any = step.intent.get("tool")
    source, command = str(attrs.get("source")), str(attrs.get("command"))
    reaction = Reaction(event, "", command, 0.0, source, bool(attrs.get("own")))
    text = past.content(step.outcome)
    if not text:
        raise SashizuError(f"what a hook said to {past.name!r} in step {step.seq} is not kept")
    told = json.loads(text)
    said = Said(told["verdict"], told["reason"], told["context"])
    return reaction, counted(reaction, said, failure_blocks=bool(attrs.get("failure_blocks")))


def had_hooks(past: AgentPast | None) -> bool:
    """Whether hooks are on record of an agent."""
    return past is not None and any(step.intent.get("op") == _HOOK for step in past.steps.values())


def written_said(said: Said, redactor: Redactor) -> str:
    """An answer as JSON, without secrets."""
    values = {"verdict": said.verdict, "reason": said.reason, "context": said.context}
    return json.dumps(redactor.value(values), ensure_ascii=False)


def _reacts(step: RecordedStep, event: ReactionEvent, at: int) -> bool:
    intent = step.intent
    return (
        intent.get("op") == _HOOK
        and intent.get("tool") == event
        and _attrs(intent).get("for_step") == at
    )


def _is(step: RecordedStep, source: str, command: str) -> bool:
    attrs = _attrs(step.intent)
    return (attrs.get("source"), attrs.get("command")) == (source, command)


def _went_on(past: AgentPast, event: ReactionEvent, at: int) -> bool:
    """Whether the agent did something after a moment, so that all of it had been waited for.

    At a call, others of the same answer may have been under way: only a model was asked after it.
    """
    later = [step for seq, step in past.steps.items() if seq >= at and step.intent]
    if event in _AT_CALLS:
        return any(step.intent["kind"] == "model.requested" for step in later)
    return not all(_reacts(step, event, at) for step in later)


def _attrs(event: Fields) -> Fields:
    found: Fields = event.get("attrs") or {}
    return found

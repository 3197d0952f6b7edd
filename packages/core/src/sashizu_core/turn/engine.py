"""Agents of other vendors as agents of ours: a program works on the task, with tools of its own.

What the program does is held by the sandbox and paid through the agent's node of the ledger; what
it says it did is recorded as its own words.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sashizu_core.errors import SandboxError
from sashizu_core.events import Event
from sashizu_core.grants import ExecRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.protocols import Model, ToolContext
from sashizu_core.redaction import Redactor
from sashizu_core.turn.answer import read_answer
from sashizu_core.turn.inference import Inference
from sashizu_core.turn.loop import Ending
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.recorded_step import RESTORE_FILES, UNKNOWN_OUTCOME, RecordedStep
from sashizu_core.turn.reserving import Ledger
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import UNITS, Amount, Decision, Outcome, StepKind, Usage

__all__ = [
    "Engine",
    "EngineJob",
    "EngineLoop",
    "EngineResult",
    "start_of",
    "work_of",
    "written_result",
]


_NOT_ITS_WORK = ("run_hook", "keep_changes", RESTORE_FILES)
_BRACKET = ("agent.started", "agent.ended")


@dataclass(frozen=True, slots=True)
class EngineJob:
    """What one agent asks of a program.

    `instructions` is what the agent is told of itself, `task` what is asked of it; `command` is
    the definition's, empty where the engine knows its own program. `folder` is where the agent
    works. `book` is told of what the program was billed, and of holds that nobody billed.
    """

    instructions: str
    task: str
    command: tuple[str, ...]
    folder: Path
    depth: int
    context: ToolContext
    subject: Subject
    steps: StepContext
    ledger: Ledger | None
    book: Callable[[Usage, int], None]
    on_text: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What became of the work.

    `declared` is the usage that the program told, None where it told none; `agents` is how many
    agents it was seen to have, itself included.
    """

    outcome: Outcome
    answer: str
    error: str = ""
    declared: Usage | None = None
    agents: int = 1


@runtime_checkable
class Engine(Model, Protocol):
    """A model that is a whole agent: it works until it has answered, and is asked once."""

    def program(self, job: EngineJob) -> ExecRequest:
        """What is started for a job.

        Raises:
            SashizuError: it is not there.
        """
        ...

    async def work(self, job: EngineJob) -> EngineResult:
        """Do the work, held by `job.context.confinement`, and paid at `job.ledger`.

        Raises:
            SashizuError: the program cannot be started, or nothing can be paid.
            RecordError: the record cannot be written.
        """
        ...


@dataclass(slots=True)
class EngineLoop:
    """Stands in for `AgentLoop` where a program works. `partial` is what it said last.

    `again` has somebody asked whether a program works again of which nobody knows what it did.
    """

    engine: Engine
    job: EngineJob
    inference: Inference
    criteria: Sequence[str] = ()
    partial: str = ""
    again: Callable[[ExecRequest], Awaitable[Decision]] | None = None
    _common: Mapping[str, Any] = field(default_factory=dict, init=False)
    _before: Amount = field(default_factory=Amount, init=False)

    async def run(self) -> Ending:
        """Have the program work, if the agent may start it.

        Raises:
            SashizuError: it is not there, or nothing can hold it.
            RecordError: the record cannot be written.
        """
        job = self.job
        request = self.engine.program(job)
        decision = authorize((request,), job.subject)
        past = job.steps.past
        known = start_of(past) if past is not None else None
        seq = known.seq if known is not None else job.steps.next_seq()
        if past is not None:
            if decision.allowed and _in_doubt(known):
                decision = await self._asked_again(request)
            self._leave(past, seq)
        self._common = {
            "step": seq,
            "step_kind": StepKind.EFFECT.value,
            "op": "execute_tool",
            "tool": self.engine.info.provider,
            "tool_type": "engine",
        }
        recorder = job.steps.recorder
        intent = [
            recorder.event("tool.requested", {**self._common, "attrs": {"argv": request.argv[:1]}}),
            recorder.event("tool.decided", {**self._common, **_told(decision)}),
        ]
        if not decision.allowed:
            return await self._denied(decision, intent)
        if job.context.sandbox is None or job.context.confinement is None:
            raise SandboxError("there is nothing that could hold the program")
        self._before = self._spent()
        result = await job.steps.step(
            StepKind.EFFECT, intent, lambda: self.engine.work(job), self._ended
        )
        self.partial = result.answer
        return Ending(result.outcome, read_answer(result.answer, self.criteria), result.error)

    def stopped(self, outcome: Outcome, error: str) -> Ending:
        """The ending of an agent that was stopped: what it said last, and why."""
        return Ending(outcome, read_answer(self.partial, self.criteria), error)

    async def _denied(self, decision: Decision, intent: Sequence[Event]) -> Ending:
        recorder = self.job.steps.recorder
        fields = {
            **self._common,
            "status": "denied",
            "severity": "warning",
            "category": "permission",
            "decision_reason": decision.reason,
        }
        await recorder.record([*intent, recorder.event("security.denied", fields)])
        return self.stopped(Outcome.FAILED, decision.reason)

    def _leave(self, past: AgentPast, seq: int) -> None:
        """Take over what the program did before, and begin anew after it."""
        steps = self.job.steps
        steps.recorder.write(past.copies(work_of(past, seq), steps.recorder))
        steps.go_on_at(past.last_seq + 1)
        steps.past = None

    async def _asked_again(self, request: ExecRequest) -> Decision:
        if self.again is None:
            return Decision("deny", f"{UNKNOWN_OUTCOME} Nobody can be asked.", "", "default")
        self.job.steps.recorder.flush()
        return await self.again(request)

    def _spent(self) -> Amount:
        ledger = self.job.ledger
        return ledger.node.state().spent if ledger is not None else Amount()

    def _ended(
        self, result: EngineResult | None, error: BaseException | None, took_ns: int
    ) -> Sequence[Event]:
        """What the program says it used, beside what was seen."""
        seen, doubtful = self.inference.used, self.inference.doubtful_tokens
        spent = {unit: getattr(self._spent(), unit) - getattr(self._before, unit) for unit in UNITS}
        attrs: dict[str, Any] = {"seen": asdict(seen), "doubtful_tokens": doubtful, "spent": spent}
        status = "cancelled" if error is not None and not isinstance(error, Exception) else "error"
        kept: dict[str, Any] = {}
        if result is not None:
            recorder = self.job.steps.recorder
            kept = recorder.keep(written_result(result, recorder.redactor), last_words=True)
            status = "ok" if result.outcome is Outcome.ANSWERED else "error"
            attrs["agents"] = result.agents
            if result.declared is not None:
                attrs["declared"] = asdict(result.declared)
                attrs["undeclared_tokens"] = seen.tokens - result.declared.tokens
        fields = {**self._common, "status": status, "duration_ns": took_ns, "attrs": attrs, **kept}
        if error is not None:
            fields["error_type"] = type(error).__name__
        return [self.job.steps.recorder.event("tool.ended", fields)]


def start_of(past: AgentPast) -> RecordedStep | None:
    """The step in which a program began to work, whatever its number; None where none did."""
    begun = [step for step in past.steps.values() if step.intent.get("tool_type") == "engine"]
    return max(begun, key=lambda step: step.seq, default=None)


def _in_doubt(known: RecordedStep | None) -> bool:
    """Whether the program was at work when the run was interrupted."""
    return known is not None and known.decision is not None and known.decision.allowed


def work_of(past: AgentPast, seq: int) -> list[Mapping[str, Any]]:
    """What is on record of a program's work in an agent's name, after the step that started it."""
    return [event for event in past.events if _of_the_work(event, seq)]


def _of_the_work(event: Mapping[str, Any], seq: int) -> bool:
    if event["kind"] in _BRACKET or event.get("op") in _NOT_ITS_WORK:
        return False
    return event.get("step") is None or int(event["step"]) > seq


def written_result(result: EngineResult, redactor: Redactor) -> str:
    """What became of the work, as JSON without secrets."""
    values = {"outcome": result.outcome.value, "answer": result.answer, "error": result.error}
    return json.dumps(redactor.value(values), ensure_ascii=False)


def _told(decision: Decision) -> dict[str, Any]:
    return {
        "decision": decision.verdict,
        "decided_by": decision.decided_by,
        "decision_rule": decision.rule,
    }

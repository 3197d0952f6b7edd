"""The report of an agent instance: how it ended, what it gave, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic

from sashizu_core.runtime.instance_parts import InstanceParts
from sashizu_core.runtime.verification import failed, outranked
from sashizu_core.turn.loop import Ending
from sashizu_core.types import AgentReport, AgentStatus, Artifact, Criterion, Outcome

__all__ = ["report_of"]

_STATUS: dict[Outcome, AgentStatus] = {
    Outcome.ANSWERED: "ok",
    Outcome.DEADLINE: "timeout",
    Outcome.CANCELLED: "cancelled",
}


def report_of(
    at: InstanceParts,
    ending: Ending,
    checks: Sequence[Criterion],
    started: float,
    children: Iterable[AgentReport],
    artifacts: tuple[Artifact, ...] = (),
    missing: tuple[str, ...] = (),
) -> AgentReport:
    """The report of an agent that began at `started`, on the clock of `time.monotonic`.

    `checks` are the commands that had to pass, `missing` the artifacts that are not there.
    """
    status = _STATUS.get(ending.outcome, "error")
    error = ending.error
    if status == "ok" and missing:
        status = "error"
        error = f"declared but not written: {', '.join(missing)}"
    if status == "ok" and (broken := failed(checks)):
        status, error = "error", broken
    return AgentReport(
        agent=at.plan.name,
        agent_id=at.agent_id,
        status=status,
        outcome=ending.outcome,
        answer=ending.answer.text,
        criteria=outranked(ending.answer.criteria, checks),
        artifacts=artifacts,
        missing=missing,
        usage=at.inference.used,
        doubtful_tokens=at.inference.doubtful_tokens,
        budget=at.node.state() if at.node is not None else None,
        steps=at.steps.count,
        duration_s=monotonic() - started,
        error=error,
        conversation_id=at.conversation_id,
        children=tuple(children),
        backends=at.steps.backends,
    )

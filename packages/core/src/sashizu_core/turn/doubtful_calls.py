"""Tool calls that had begun when their agent was stopped, and nobody knows how they ended."""

from __future__ import annotations

from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.pending_call import PendingCall
from sashizu_core.turn.recorded_step import UNKNOWN_OUTCOME
from sashizu_core.types import Decision, StepKind, ToolResult

__all__ = ["is_in_doubt", "leave_in_doubt", "whether_again"]


def is_in_doubt(past: AgentPast | None, state: PendingCall) -> bool:
    """Whether a call had begun that must not be made twice, and nobody knows how it ended."""
    if past is None or past.strict:
        return False
    known = past.steps.get(state.seq)
    if known is None or known.finished or known.decision is None or not known.decision.allowed:
        return False
    return known.kind is StepKind.EFFECT or (
        state.tool is not None and state.tool.kind is StepKind.EFFECT
    )


def leave_in_doubt(state: PendingCall, why: str) -> None:
    """Answer a call with what is not known of it, and why it was not made again."""
    state.result = ToolResult(f"{UNKNOWN_OUTCOME} {why}", is_error=True)
    state.error_type = "outcome_unknown"


def whether_again(decision: Decision) -> Decision:
    """The question whether to make a call again whose outcome is not known."""
    return Decision("ask", UNKNOWN_OUTCOME, decision.rule, "default")

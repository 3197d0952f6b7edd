"""Whether a tool call may be made: rules, what reacts to it, the user's answer, other agents."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.approvals import Approvals
from sashizu_core.grants import PermissionRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.protocols import Policy
from sashizu_core.turn.claims import Claims
from sashizu_core.turn.doubtful_calls import is_in_doubt, leave_in_doubt, whether_again
from sashizu_core.turn.pending_call import PendingCall
from sashizu_core.turn.reacting import Reactor
from sashizu_core.turn.recorded_tools import RecordedTool
from sashizu_core.turn.steps import StepContext
from sashizu_core.turn.tool_events import ToolEvents
from sashizu_core.types import Decision, ToolCall, ToolResult

__all__ = ["Permitting"]

MAX_DECISIONS = 1024
"""Decisions that are kept for one agent instance."""


class Permitting:
    """Judges the tool calls of one agent instance, and what they ask for while they run."""

    def __init__(
        self,
        subject: Subject,
        steps: StepContext,
        *,
        policies: Sequence[Policy],
        approvals: Approvals | None,
        claims: Claims | None,
        reactor: Reactor | None,
    ) -> None:
        self._subject = subject
        self._steps = steps
        self._policies = policies
        self._approvals = approvals
        self._claims = claims
        self._reactor = reactor
        self._redactor = steps.recorder.redactor
        self._events = ToolEvents(steps.recorder)
        # Judging is pure, and an agent asks for the same again and again.
        self._decided: dict[tuple[PermissionRequest, ...], Decision] = {}

    async def permit(self, state: PendingCall, asked: tuple[PermissionRequest, ...]) -> None:
        """Judge a call; the state has a result where it must not be made."""
        call = state.call
        decision = self._decided.get(asked) or self._decide(asked)
        if self._reactor is not None and decision.verdict != "deny":
            decision = await self._reactor.before(call, decision, state.seq)
        past = self._steps.past
        known = past.steps.get(state.seq) if past is not None and past.recomputes else None
        then = known.decision if known is not None else None
        doubt = is_in_doubt(past, state)
        answered = then is not None and (
            then.decided_by == "user" or isinstance(state.tool, RecordedTool)
        )  # whether a server's tool was approved by then, is known from there alone
        if answered and then is not None and decision.verdict != "deny":
            decision = then
        elif doubt and decision.verdict != "deny":
            decision = await self._ask(
                call, asked, whether_again(decision), call.arguments, in_doubt=True
            )
        elif decision.verdict == "ask" and then is not None:
            decision = then
        elif decision.verdict == "ask":
            decision = await self._ask(call, asked, decision, call.arguments)
        state.decision = decision
        if not decision.allowed and doubt:
            leave_in_doubt(state, "It was not run again.")
        elif not decision.allowed:
            state.result = ToolResult(f"not allowed: {decision.reason}", is_error=True)
            state.error_type = "denied"
        elif taken := self._taken(state):
            state.result = ToolResult(f"not done: {taken}", is_error=True)
            state.error_type = "conflict"

    async def judge(self, state: PendingCall, request: PermissionRequest) -> Decision:
        """Decide on what a running call asks for, such as a connection of its program."""
        asked = (request,)
        decision = self._decided.get(asked) or self._decide(asked)
        if decision.verdict == "ask":
            decision = await self._ask(state.call, asked, decision)
        await self._steps.recorder.record(self._events.decided_within(state, request, decision))
        return decision

    def _decide(self, asked: tuple[PermissionRequest, ...]) -> Decision:
        decision = authorize(asked, self._subject, self._policies)
        if len(self._decided) < MAX_DECISIONS:
            self._decided[asked] = decision
        return decision

    def _taken(self, state: PendingCall) -> str:
        """Claim what a call would write; says who else has it."""
        if self._claims is None:
            return ""
        return self._claims.take(self._subject.agent_id, self._subject.agent_name, state.writes)

    async def _ask(
        self,
        call: ToolCall,
        asked: tuple[PermissionRequest, ...],
        decision: Decision,
        arguments: str = "",
        *,
        in_doubt: bool = False,
    ) -> Decision:
        self._steps.recorder.flush()
        if self._approvals is None:
            return Decision(
                "deny", f"{decision.reason} (nobody can be asked)", decision.rule, "default"
            )
        alone = ((r, authorize((r,), self._subject, self._policies)) for r in asked)
        needing = tuple(request for request, view in alone if view.verdict == "ask")
        return await self._approvals.decide(
            call.name,
            asked,
            needing,
            self._subject,
            decision,
            call.id,
            self._redactor.without_known(arguments),
            in_doubt=in_doubt,
        )

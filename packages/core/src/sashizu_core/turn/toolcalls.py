"""What happens to the tool calls of an answer: understood, judged, recorded, run, in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import anyio
import anyio.lowlevel

from sashizu_core.approvals import Approvals
from sashizu_core.events import Event
from sashizu_core.grants import (
    Subject,
    ToolRequest,
)
from sashizu_core.permissions import effective
from sashizu_core.protocols import Policy, TailoredTool, Tool, ToolContext
from sashizu_core.sandboxing import Confinement
from sashizu_core.turn.claims import Claims
from sashizu_core.turn.doubtful_calls import is_in_doubt, leave_in_doubt
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.pending_call import PendingCall
from sashizu_core.turn.permitting import Permitting
from sashizu_core.turn.reacting import Reactor
from sashizu_core.turn.recorded_answers import result_of
from sashizu_core.turn.recorded_step import RecordedStep
from sashizu_core.turn.recorded_tools import RecordedTool
from sashizu_core.turn.steps import StepContext
from sashizu_core.turn.tool_events import ToolEvents
from sashizu_core.turn.tool_results import MAX_RESULT_BYTES, cut_results
from sashizu_core.types import Message, StepKind, ToolCall, ToolResult

__all__ = ["MAX_RESULT_BYTES", "ToolBox", "cut_results"]

UNTOUCHED = StepKind.PURE

_OF_THE_OUTSIDE = ("conflict", "not_understood", "outcome_unknown")
"""Why a call was not made that depends on files, on other agents, or on a crash."""

SIDE_BY_SIDE = (StepKind.PURE, StepKind.CHILD)
"""Kinds of call that may run beside others of the same kind."""


class ToolBox:
    """The tools of one agent instance, behind the permission engine.

    `schemas` are what the model is told of them; `malformed` counts the calls whose arguments did
    not fit their schema; `running` is the tool that was started last, empty when none is; `written`
    are the paths of the calls that were to write, and succeeded.
    """

    def __init__(
        self,
        tools: Mapping[str, Tool],
        subject: Subject,
        context: ToolContext,
        steps: StepContext,
        *,
        policies: Sequence[Policy] = (),
        approvals: Approvals | None = None,
        claims: Claims | None = None,
        confining: Callable[[], Confinement] | None = None,
        hide_secrets: bool = False,
        reactor: Reactor | None = None,
    ) -> None:
        self._tools = tools
        self._context = context
        self._steps = steps
        self._confining = confining
        self._reactor = reactor
        self._permitting = Permitting(
            subject,
            steps,
            policies=policies,
            approvals=approvals,
            claims=claims,
            reactor=reactor,
        )
        self._events = ToolEvents(steps.recorder)
        redactor = steps.recorder.redactor
        # What the product itself knows to be secret is nobody's to read, whatever the agent.
        self._shown = redactor.text if hide_secrets else redactor.without_known
        self.schemas = tuple(
            tool.schema_for(context) if isinstance(tool, TailoredTool) else tool.schema
            for tool in tools.values()
        )
        self.malformed = 0
        self.running = ""
        self.written: set[str] = set()
        self._may_connect = bool(effective(subject.chain).net)

    async def run(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Answer every call, in order.

        Calls that only read run side by side, and so do those that start agents; one that changes
        something runs alone, in its turn.
        """
        results: list[ToolResult] = []
        batch: list[PendingCall] = []
        together = UNTOUCHED
        # Numbered in their order, before any of them starts: a replay finds them by their numbers.
        states = [PendingCall(call, self._steps.next_seq()) for call in calls]
        for state in states:
            tool = self._tools.get(state.call.name)
            kind = tool.kind if tool is not None else UNTOUCHED
            if batch and (kind is not together or kind not in SIDE_BY_SIDE):
                results += await self._side_by_side(batch)
                batch = []
            together = kind
            batch.append(state)
        if batch:
            results += await self._side_by_side(batch)
        return [
            Message(
                "tool", self._shown(result.content), tool_call_id=call.id, is_error=result.is_error
            )
            for call, result in zip(calls, results, strict=True)
        ]

    async def check(self, call: ToolCall) -> tuple[ToolResult, str]:
        """Run one call that the definition asks for and not the model, judged like any other.

        Returns the result and what kept the tool from giving one, empty if nothing did.
        """
        state = PendingCall(call, self._steps.next_seq())
        result = await self._through(state)
        return ToolResult(self._shown(result.content), result.is_error), state.error_type

    async def _side_by_side(self, calls: Sequence[PendingCall]) -> list[ToolResult]:
        if len(calls) == 1:
            return [await self._through(calls[0])]
        async with anyio.create_task_group() as group:
            handles = [group.create_task(self._one_of_many(call)) for call in calls]
        return [handle.return_value for handle in handles]

    async def _one_of_many(self, call: PendingCall) -> ToolResult:
        result = await self._through(call)
        self._steps.recorder.flush()  # the others may take long
        return result

    async def _through(self, state: PendingCall) -> ToolResult:
        requests = state.understand(self._tools, self._context)
        self.malformed += state.error_type == "malformed_arguments"
        past = self._steps.past
        if past is not None and (known := past.steps.get(state.seq)) is not None:
            if past.anew(known) or (past.recomputes and not known.finished):
                self._as_recorded(past, known, state)
                if state.result is not None and self._reactor is not None:
                    self._reactor.recall(state.seq)
            elif known.finished:
                return await self._remembered(past, known, state)
        if state.result is None:
            await self._permitting.permit(state, (ToolRequest(state.call.name), *requests))
        elif state.error_type != "outcome_unknown" and is_in_doubt(past, state):
            leave_in_doubt(state, f"It cannot be run again: {state.result.content}")
        if state.result is not None or state.tool is None:
            return await self._refuse(state)
        return await self._act(state, state.tool)

    # --- what is on record already ----------------------------------------------------------------

    def _as_recorded(self, past: AgentPast, known: RecordedStep, state: PendingCall) -> None:
        """Refuse what was refused for reasons that lie outside of the agent."""
        why = str(known.outcome.get("error_type") or "")
        misread = why == "malformed_arguments" and isinstance(state.tool, RecordedTool)
        doubtful = why == "outcome_unknown"
        if misread or doubtful or (why in _OF_THE_OUTSIDE and state.result is None):
            state.result = result_of(past, known)
            state.error_type = why
            state.decision = known.decision
            self.malformed += misread

    async def _remembered(
        self, past: AgentPast, known: RecordedStep, state: PendingCall
    ) -> ToolResult:
        """Take what a call gave from the record: it was judged and made."""
        recorder, reactor = self._steps.recorder, self._reactor
        tool = state.tool
        if reactor is not None:
            reactor.recall(state.seq)
        recorder.write(past.copies((*known.before, *known.within), recorder))
        if tool is not None and state.seq in past.started_in:  # whom it started goes on, too
            await state.run(tool, await self._context_of(state))
        recorder.later(past.copies(known.after, recorder))
        await anyio.lowlevel.checkpoint()
        result = result_of(past, known)
        state.error_type = ""
        result = self._given(state, result)
        if reactor is None or not _was_made(known):
            return result
        return await reactor.after(state.call, result, self._shown(result.content), state.seq)

    async def _context_of(self, state: PendingCall) -> ToolContext:
        """The context of one call: what comes up while it runs is judged, and recorded with it."""
        context = replace(self._context, step=state.seq)
        if context.confinement is None and not self._may_connect:
            return context
        judge = partial(self._permitting.judge, state)
        confinement = context.confinement
        if self._confining is not None and state.starts:  # files have come and gone meanwhile
            confinement = await anyio.to_thread.run_sync(self._confining)
        if confinement is not None and self._may_connect:
            confinement = replace(confinement, judge=judge)
        return replace(context, judge=judge, confinement=confinement)

    async def _refuse(self, state: PendingCall) -> ToolResult:
        """Record a call that does not run, and answer it."""
        assert state.result is not None
        denied = state.error_type == "denied"
        status = "denied" if denied else "error"
        events = self._events.intent(state, UNTOUCHED)
        if denied:
            events.append(self._events.denied(state))
        events.append(self._events.ended(state, UNTOUCHED, status, 0))
        await self._steps.recorder.record(events)
        return state.result

    # --- the act ----------------------------------------------------------------------------------

    async def _act(self, state: PendingCall, tool: Tool) -> ToolResult:
        kind, seq = tool.kind, state.seq

        async def call() -> ToolResult:
            self.running = state.call.name
            result = await state.run(tool, await self._context_of(state))
            self.running = ""
            return self._given(state, result)

        async def recall(step: RecordedStep) -> ToolResult:
            past = self._steps.past
            assert past is not None
            if seq in past.started_in:  # whom it started goes on, too
                await state.run(tool, await self._context_of(state))
                state.error_type = ""
            return self._given(state, result_of(past, step))

        def outcome(
            result: ToolResult | None, error: BaseException | None, took_ns: int
        ) -> Sequence[Event]:
            if error is not None:
                state.error_type = "cancelled"
                return [self._events.ended(state, kind, "cancelled", took_ns)]
            status = "error" if result is not None and result.is_error else "ok"
            return [self._events.ended(state, kind, status, took_ns)]

        intent = self._events.intent(state, kind)
        result = await self._steps.step(kind, intent, call, outcome, recall)
        if self._reactor is None:
            return result
        return await self._reactor.after(state.call, result, self._shown(result.content), seq)

    def _given(self, state: PendingCall, result: ToolResult) -> ToolResult:
        """Keep in mind what a call gave."""
        state.result = result
        self._steps.carried_out("tool", state.call.name, result.backend)
        if result.is_error:
            state.error_type = state.error_type or result.error_type
        else:
            self.written.update(state.writes)
        return result


def _was_made(known: RecordedStep) -> bool:
    """Whether a recorded call was more than asked for."""
    decided = known.decision
    return (
        decided is not None
        and decided.allowed
        and known.outcome.get("error_type") not in _OF_THE_OUTSIDE
    )

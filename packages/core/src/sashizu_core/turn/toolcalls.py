"""What happens to the tool calls of an answer: parsed, judged, recorded, run, cut to size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

import anyio
import anyio.lowlevel

from sashizu_core.approvals import Approvals
from sashizu_core.bounds import text_bound
from sashizu_core.errors import ArgumentsError, RecordError, SashizuError, ToolError, nearest
from sashizu_core.events import Event
from sashizu_core.granting import request_text
from sashizu_core.grants import (
    ExecRequest,
    PathRequest,
    PermissionRequest,
    Subject,
    ToolRequest,
)
from sashizu_core.permissions import authorize, effective
from sashizu_core.protocols import Policy, TailoredTool, Tool, ToolContext
from sashizu_core.sandboxing import Confinement
from sashizu_core.turn.claims import Claims
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.reacting import Reactor
from sashizu_core.turn.recorded_answers import result_of
from sashizu_core.turn.recorded_step import UNKNOWN_OUTCOME, RecordedStep
from sashizu_core.turn.recorded_tools import RecordedTool
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import Decision, Message, StepKind, ToolCall, ToolResult

__all__ = ["MAX_RESULT_BYTES", "ToolBox", "cut_results"]

MAX_RESULT_BYTES = 256 * 1024
"""The most of one tool result that enters a conversation, in UTF-8 bytes."""

MAX_DECISIONS = 1024
"""Decisions that are kept for one agent instance."""

UNTOUCHED = StepKind.PURE

_OF_THE_OUTSIDE = ("conflict", "not_understood", "outcome_unknown")
"""Why a call was not made that depends on files, on other agents, or on a crash."""

SIDE_BY_SIDE = (StepKind.PURE, StepKind.CHILD)
"""Kinds of call that may run beside others of the same kind."""


@dataclass(slots=True)
class _Call:
    """One tool call on its way: `result` is set as soon as it is known."""

    call: ToolCall
    seq: int
    tool: Tool | None = None
    arguments: Any = None
    decision: Decision | None = None
    result: ToolResult | None = None
    error_type: str = ""
    writes: tuple[str, ...] = ()
    starts: bool = False


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
        self._subject = subject
        self._context = context
        self._steps = steps
        self._policies = policies
        self._approvals = approvals
        self._claims = claims
        self._confining = confining
        self._reactor = reactor
        self._redactor = steps.recorder.redactor
        # What the product itself knows to be secret is nobody's to read, whatever the agent.
        self._shown = self._redactor.text if hide_secrets else self._redactor.without_known
        self.schemas = tuple(
            tool.schema_for(context) if isinstance(tool, TailoredTool) else tool.schema
            for tool in tools.values()
        )
        self.malformed = 0
        self.running = ""
        self.written: set[str] = set()
        self._may_connect = bool(effective(subject.chain).net)
        # Judging is pure, and an agent asks for the same again and again.
        self._decided: dict[tuple[PermissionRequest, ...], Decision] = {}

    async def run(self, calls: Sequence[ToolCall]) -> list[Message]:
        """Answer every call, in order.

        Calls that only read run side by side, and so do those that start agents; one that changes
        something runs alone, in its turn.
        """
        results: list[ToolResult] = []
        batch: list[_Call] = []
        together = UNTOUCHED
        # Numbered in their order, before any of them starts: a replay finds them by their numbers.
        states = [_Call(call, self._steps.next_seq()) for call in calls]
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
        state = _Call(call, self._steps.next_seq())
        result = await self._through(state)
        return ToolResult(self._shown(result.content), result.is_error), state.error_type

    async def _side_by_side(self, calls: Sequence[_Call]) -> list[ToolResult]:
        if len(calls) == 1:
            return [await self._through(calls[0])]
        async with anyio.create_task_group() as group:
            handles = [group.create_task(self._one_of_many(call)) for call in calls]
        return [handle.return_value for handle in handles]

    async def _one_of_many(self, call: _Call) -> ToolResult:
        result = await self._through(call)
        self._steps.recorder.flush()  # the others may take long
        return result

    async def _through(self, state: _Call) -> ToolResult:
        requests = self._understand(state)
        past = self._steps.past
        if past is not None and (known := past.steps.get(state.seq)) is not None:
            if past.anew(known) or (past.recomputes and not known.finished):
                self._as_recorded(past, known, state)
                if state.result is not None and self._reactor is not None:
                    self._reactor.recall(state.seq)
            elif known.finished:
                return await self._remembered(past, known, state)
        if state.result is None:
            await self._permit(state, (ToolRequest(state.call.name), *requests))
        elif state.error_type != "outcome_unknown" and self._in_doubt(state):
            self._doubt(state, f"It cannot be run again: {state.result.content}")
        if state.result is not None or state.tool is None:
            return await self._refuse(state)
        return await self._act(state, state.tool)

    async def _permit(self, state: _Call, asked: tuple[PermissionRequest, ...]) -> None:
        """Judge a call; the state has a result where it must not be made."""
        call = state.call
        decision = self._decided.get(asked) or self._decide(asked)
        if self._reactor is not None and decision.verdict != "deny":
            decision = await self._reactor.before(call, decision, state.seq)
        past = self._steps.past
        known = past.steps.get(state.seq) if past is not None and past.recomputes else None
        then = known.decision if known is not None else None
        doubt = self._in_doubt(state)
        answered = then is not None and (
            then.decided_by == "user" or isinstance(state.tool, RecordedTool)
        )  # whether a server's tool was approved by then, is known from there alone
        if answered and then is not None and decision.verdict != "deny":
            decision = then
        elif doubt and decision.verdict != "deny":
            decision = await self._ask(
                call, asked, _doubtful(decision), call.arguments, in_doubt=True
            )
        elif decision.verdict == "ask" and then is not None:
            decision = then
        elif decision.verdict == "ask":
            decision = await self._ask(call, asked, decision, call.arguments)
        state.decision = decision
        if not decision.allowed and doubt:
            self._doubt(state, "It was not run again.")
        elif not decision.allowed:
            state.result = ToolResult(f"not allowed: {decision.reason}", is_error=True)
            state.error_type = "denied"
        elif taken := self._taken(state):
            state.result = ToolResult(f"not done: {taken}", is_error=True)
            state.error_type = "conflict"

    # --- before -----------------------------------------------------------------------------------

    def _understand(self, state: _Call) -> Sequence[PermissionRequest]:
        """Find the tool, read the arguments, and hear what the call would touch."""
        call = state.call
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(self._tools) or "none"
            hint = nearest(call.name, self._tools)
            state.result = ToolResult(
                f"there is no tool {call.name!r}; known: {known}{hint}", is_error=True
            )
            state.error_type = "unknown_tool"
            return ()
        try:
            state.arguments = tool.parse(call.arguments)
            requests = tool.requests(state.arguments, self._context)
        except ArgumentsError as error:
            self.malformed += 1
            state.result = ToolResult(str(error), is_error=True)
            state.error_type = "malformed_arguments"
            return ()
        except ToolError as error:
            state.result = ToolResult(str(error), is_error=True)
            state.error_type = "not_understood"
            return ()
        state.tool = tool
        state.starts = any(isinstance(request, ExecRequest) for request in requests)
        state.writes = tuple(
            request.path
            for request in requests
            if isinstance(request, PathRequest) and request.access == "write"
        )
        return requests

    def _decide(self, asked: tuple[PermissionRequest, ...]) -> Decision:
        decision = authorize(asked, self._subject, self._policies)
        if len(self._decided) < MAX_DECISIONS:
            self._decided[asked] = decision
        return decision

    # --- what is on record already ----------------------------------------------------------------

    def _as_recorded(self, past: AgentPast, known: RecordedStep, state: _Call) -> None:
        """Refuse what was refused for reasons that lie outside of the agent."""
        why = str(known.outcome.get("error_type") or "")
        misread = why == "malformed_arguments" and isinstance(state.tool, RecordedTool)
        doubtful = why == "outcome_unknown"
        if misread or doubtful or (why in _OF_THE_OUTSIDE and state.result is None):
            state.result = result_of(past, known)
            state.error_type = why
            state.decision = known.decision
            self.malformed += misread

    async def _remembered(self, past: AgentPast, known: RecordedStep, state: _Call) -> ToolResult:
        """Take what a call gave from the record: it was judged and made."""
        recorder, reactor = self._steps.recorder, self._reactor
        tool = state.tool
        if reactor is not None:
            reactor.recall(state.seq)
        recorder.write(past.copies((*known.before, *known.within), recorder))
        if tool is not None and state.seq in past.started_in:  # whom it started goes on, too
            await _run(tool, state, await self._context_of(state, state.seq))
        recorder.later(past.copies(known.after, recorder))
        await anyio.lowlevel.checkpoint()
        result = result_of(past, known)
        state.error_type = ""
        result = self._given(state, result)
        if reactor is None or not _was_made(known):
            return result
        return await reactor.after(state.call, result, self._shown(result.content), state.seq)

    def _in_doubt(self, state: _Call) -> bool:
        """Whether a call had begun that must not be made twice, and nobody knows how it ended."""
        past = self._steps.past
        if past is None or past.strict:
            return False
        known = past.steps.get(state.seq)
        if known is None or known.finished or known.decision is None or not known.decision.allowed:
            return False
        return known.kind is StepKind.EFFECT or (
            state.tool is not None and state.tool.kind is StepKind.EFFECT
        )

    def _doubt(self, state: _Call, why: str) -> None:
        """Answer a call with what is not known of it, and why it was not made again."""
        state.result = ToolResult(f"{UNKNOWN_OUTCOME} {why}", is_error=True)
        state.error_type = "outcome_unknown"

    def _taken(self, state: _Call) -> str:
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

    async def _context_of(self, state: _Call, seq: int) -> ToolContext:
        """The context of one call: what comes up while it runs is judged, and recorded with it."""
        context = replace(self._context, step=seq)
        if context.confinement is None and not self._may_connect:
            return context
        judge = partial(self._judge, state, seq)
        confinement = context.confinement
        if self._confining is not None and state.starts:  # files have come and gone meanwhile
            confinement = await anyio.to_thread.run_sync(self._confining)
        if confinement is not None and self._may_connect:
            confinement = replace(confinement, judge=judge)
        return replace(context, judge=judge, confinement=confinement)

    async def _judge(self, state: _Call, seq: int, request: PermissionRequest) -> Decision:
        """Decide on what a running call asks for, such as a connection of its program."""
        asked = (request,)
        decision = self._decided.get(asked) or self._decide(asked)
        if decision.verdict == "ask":
            decision = await self._ask(state.call, asked, decision)
        recorder = self._steps.recorder
        common = {"step": seq, "tool": state.call.name, "tool_call_id": state.call.id}
        attrs = {"request": self._redactor.text(request_text(request))}
        if decision.decided_by == "user":
            attrs["source"] = decision.source
        told = {"attrs": attrs}
        events = [
            recorder.event(
                "tool.decided",
                {
                    **common,
                    **told,
                    "op": "execute_tool",
                    "decision": decision.verdict,
                    "decided_by": decision.decided_by,
                    "decision_rule": decision.rule,
                },
            )
        ]
        if not decision.allowed:
            denied = {"status": "denied", "severity": "warning", "category": "permission"}
            reason = {"decision_reason": decision.reason}
            events.append(recorder.event("security.denied", {**common, **denied, **reason, **told}))
        await recorder.record(events)
        return decision

    # --- the record -------------------------------------------------------------------------------

    def _intent(self, state: _Call, seq: int, kind: StepKind) -> list[Event]:
        recorder = self._steps.recorder
        common: dict[str, Any] = {
            "step": seq,
            "step_kind": kind.value,
            "op": "execute_tool",
            "tool": state.call.name,
            "tool_call_id": state.call.id,
        }
        arguments, hidden = self._redactor.counted(state.call.arguments)
        args: dict[str, Any] = {"args_sha256": _sha256(arguments), **recorder.keep(arguments)}
        if hidden:
            args["redactions"] = hidden
        events = [recorder.event("tool.requested", {**common, **args})]
        if (decision := state.decision) is not None:
            fields: dict[str, Any] = {
                "decision": decision.verdict,
                "decided_by": decision.decided_by,
                "decision_rule": decision.rule,
            }
            if decision.decided_by == "user":
                fields["decision_reason"] = decision.reason
                fields["attrs"] = {"source": decision.source}
            events.append(recorder.event("tool.decided", {**common, **fields}))
        return events

    def _ended(self, state: _Call, seq: int, kind: StepKind, status: str, took_ns: int) -> Event:
        fields: dict[str, Any] = {
            "step": seq,
            "step_kind": kind.value,
            "op": "execute_tool",
            "tool": state.call.name,
            "tool_call_id": state.call.id,
            "status": status,
            "duration_ns": took_ns,
        }
        if state.error_type:
            fields["error_type"] = state.error_type
        if state.result is not None:
            content, hidden = self._redactor.counted(state.result.content)
            fields["result_sha256"] = _sha256(content)
            fields |= self._steps.recorder.keep(content, last_words=True)
            fields["bytes"] = len(state.result.content.encode("utf-8", "surrogatepass"))
            if hidden:
                fields["redactions"] = hidden
        return self._steps.recorder.event("tool.ended", fields)

    async def _refuse(self, state: _Call) -> ToolResult:
        """Record a call that does not run, and answer it."""
        assert state.result is not None
        seq = state.seq
        events = self._intent(state, seq, UNTOUCHED)
        denied = state.error_type == "denied"
        if denied:
            fields = {
                "step": seq,
                "tool": state.call.name,
                "tool_call_id": state.call.id,
                "status": "denied",
                "severity": "warning",
                "category": "permission",
                "decision_reason": state.decision.reason if state.decision else "",
            }
            events.append(self._steps.recorder.event("security.denied", fields))
        status = "denied" if denied else "error"
        events.append(self._ended(state, seq, UNTOUCHED, status, 0))
        await self._steps.recorder.record(events)
        return state.result

    # --- the act ----------------------------------------------------------------------------------

    async def _act(self, state: _Call, tool: Tool) -> ToolResult:
        kind, seq = tool.kind, state.seq

        async def call() -> ToolResult:
            self.running = state.call.name
            result = await _run(tool, state, await self._context_of(state, seq))
            self.running = ""
            return self._given(state, result)

        async def recall(step: RecordedStep) -> ToolResult:
            past = self._steps.past
            assert past is not None
            if seq in past.started_in:  # whom it started goes on, too
                await _run(tool, state, await self._context_of(state, seq))
                state.error_type = ""
            return self._given(state, result_of(past, step))

        def outcome(
            result: ToolResult | None, error: BaseException | None, took_ns: int
        ) -> Sequence[Event]:
            if error is not None:
                state.error_type = "cancelled"
                return [self._ended(state, seq, kind, "cancelled", took_ns)]
            status = "error" if result is not None and result.is_error else "ok"
            return [self._ended(state, seq, kind, status, took_ns)]

        intent = self._intent(state, seq, kind)
        result = await self._steps.step(kind, intent, call, outcome, recall)
        if self._reactor is None:
            return result
        return await self._reactor.after(state.call, result, self._shown(result.content), seq)

    def _given(self, state: _Call, result: ToolResult) -> ToolResult:
        """Keep in mind what a call gave."""
        state.result = result
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


def _doubtful(decision: Decision) -> Decision:
    """The question whether to make a call again whose outcome is not known."""
    return Decision("ask", UNKNOWN_OUTCOME, decision.rule, "default")


def _sha256(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


async def _run(tool: Tool, state: _Call, context: ToolContext) -> ToolResult:
    """Run a tool; whatever goes wrong inside it becomes an answer to the model."""
    try:
        result = await tool.run(state.arguments, context)
    except RecordError:
        raise
    except SashizuError as error:
        state.error_type = type(error).__name__
        return ToolResult(str(error), is_error=True)
    except Exception as error:  # noqa: BLE001 - a bug of a tool ends this call and nothing else
        state.error_type = type(error).__name__
        return ToolResult(f"{state.call.name} failed: {type(error).__name__}: {error}", True)
    if len(result.content) * 4 > MAX_RESULT_BYTES:
        return ToolResult(_cut(result.content, MAX_RESULT_BYTES), result.is_error)
    return result


def _cut(text: str, most: int) -> str:
    """The beginning of a text, at most so many UTF-8 bytes, with a note of what is missing."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= most:
        return text
    note = f"\n[cut: {len(data)} bytes in all]"
    kept = data[: max(0, most - len(note))].decode("utf-8", "ignore")
    return kept + note


def cut_results(messages: Sequence[Message], room: int) -> list[Message]:
    """Cut tool results so that their texts together are bounded by `room` tokens.

    The longest are cut first, so that short answers survive.
    """
    sizes = [text_bound(message.content) for message in messages]
    if sum(sizes) <= room:
        return list(messages)
    share, left = 0, room
    for count, size in zip(range(len(sizes), 0, -1), sorted(sizes), strict=True):
        share = left // count
        if size > share:
            break
        left -= size
    return [
        message
        if size <= share
        else Message(
            "tool",
            _cut(message.content, max(share, 0)),
            tool_call_id=message.tool_call_id,
            is_error=message.is_error,
        )
        for message, size in zip(messages, sizes, strict=True)
    ]

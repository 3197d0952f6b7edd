"""The tools that an agent has of servers: asked for as a step of its own, before its first call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sashizu_core.approvals import Approvals
from sashizu_core.errors import SashizuError
from sashizu_core.events import Event
from sashizu_core.granting import request_text
from sashizu_core.grants import Subject, ToolRequest
from sashizu_core.permissions import authorize
from sashizu_core.protocols import (
    Policy,
    ServerStart,
    Tool,
    ToolContext,
    ToolSource,
    ToolsServed,
    ToolsWanted,
)
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.server_starts import authorize_start
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.recorded_step import RecordedStep
from sashizu_core.turn.recorded_tools import tools_from, written_tools
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import Decision, StepKind

__all__ = ["tools_of_servers"]

MOST_NAMES = 200
"""Names that one event carries."""


async def tools_of_servers(
    plan: AgentPlan,
    sources: Sequence[ToolSource],
    subject: Subject,
    context: ToolContext,
    steps: StepContext,
    *,
    policies: Sequence[Policy] = (),
    approvals: Approvals | None = None,
) -> Mapping[str, Tool]:
    """What servers offer of what a definition lists, and every level of permission has.

    Asking may start programs, so it is on record before it happens, and each start is judged: by
    the chain and the `policies`, and by whom `approvals` asks. What is not there is on record too,
    and shown.

    Where the agent does nothing but what is on record, nobody is asked: the tools are those that
    were described then. One that goes on asks the servers of today.

    Raises:
        RecordError: the record cannot be written.
        SashizuError: what was described then is not kept.
    """
    past = steps.past
    if not plan.served or not (sources or (past is not None and past.strict)):
        return {}
    recorder = steps.recorder
    servers = sorted({name.partition("/")[0] for name in plan.served})
    common: dict[str, Any] = {
        "step": steps.next_seq(),
        "step_kind": StepKind.EFFECT.value,
        "op": "list_tools",
        "tool": ", ".join(servers),
        "tool_type": "mcp",
        "mcp_method": "tools/list",
    }

    starts = _Starts(recorder, subject, int(common["step"]), policies, approvals)

    async def suspicious(fields: Mapping[str, Any]) -> None:
        await recorder.record([recorder.event("security.suspicious", fields)])

    async def ask() -> ToolsServed:
        wanted = ToolsWanted(
            subject,
            plan.served,
            context.workspace,
            plan.definition.servers,
            plan.name,
            context.sandbox,
            context.confinement,
            suspicious,
            starts.decide,
        )
        answers = [await source.tools(wanted) for source in sources]
        return _allowed(answers, subject)

    async def recall(step: RecordedStep) -> ToolsServed:
        assert past is not None
        return _described_then(past, step)

    def outcome(
        served: ToolsServed | None, error: BaseException | None, took_ns: int
    ) -> Sequence[Event]:
        told: dict[str, Any] = {
            "duration_ns": took_ns,
            "status": "ok" if error is None else _failed(error),
        }
        if served is not None:
            told["attrs"] = {
                "tools": list(served.tools)[:MOST_NAMES],
                "absent": dict(list(served.absent.items())[:MOST_NAMES]),
            }
            told |= recorder.keep(written_tools(served, recorder.redactor), last_words=True)
        return [recorder.event("tool.ended", {**common, **told})]

    intent = [recorder.event("tool.requested", {**common, "attrs": {"listed": list(plan.served)}})]
    recalls = recall if past is not None and past.strict else None
    served = await steps.step(StepKind.EFFECT, intent, ask, outcome, recalls)
    if context.progress is not None:
        for reason in dict.fromkeys(served.absent.values()):
            names = ", ".join(name for name, why in served.absent.items() if why == reason)
            context.progress(f"{names}: not there, {reason}")
    return served.tools


def _described_then(past: AgentPast, step: RecordedStep) -> ToolsServed:
    """The tools as they were described when the agent began.

    Raises:
        SashizuError: their description is not kept, or servers could not be asked.
    """
    if step.outcome.get("status") != "ok":
        raise SashizuError(f"servers could not be asked for tools: recorded for {past.name!r}")
    text = past.content(step.outcome)
    if not text:
        raise SashizuError(f"what servers told {past.name!r} of their tools is not kept")
    return tools_from(text)


def _failed(error: BaseException) -> str:
    return "error" if isinstance(error, Exception) else "cancelled"


class _Starts:
    """The decisions about the servers that one agent has started, on record before they are."""

    def __init__(
        self,
        recorder: Recorder,
        subject: Subject,
        step: int,
        policies: Sequence[Policy],
        approvals: Approvals | None,
    ) -> None:
        self._recorder = recorder
        self._subject = subject
        self._step = step
        self._policies = policies
        self._approvals = approvals

    async def decide(self, start: ServerStart) -> Decision:
        """See `ToolsWanted.starting`.

        Raises:
            RecordError: the record cannot be written.
        """
        decision = authorize_start(start, self._subject, self._policies)
        if decision.verdict == "ask":
            decision = await self._ask(start, decision)
        await self._recorder.record(self._events(start, decision))
        return decision

    async def _ask(self, start: ServerStart, decision: Decision) -> Decision:
        if self._approvals is None:
            reason = f"{decision.reason} (nobody can be asked)"
            return Decision("deny", reason, decision.rule, "default")
        self._recorder.flush()
        asked = (start.request,)
        tool = f"{start.server}/*"
        return await self._approvals.decide(tool, asked, asked, self._subject, decision)

    def _events(self, start: ServerStart, decision: Decision) -> list[Event]:
        attrs = {"request": self._recorder.redactor.text(request_text(start.request))}
        if decision.decided_by == "user":
            attrs["source"] = decision.source
        common: dict[str, Any] = {
            "step": self._step,
            "op": "list_tools",
            "tool": start.server,
            "tool_type": "mcp",
            "mcp_server": start.server,
            "decision_reason": decision.reason,
            "attrs": attrs,
        }
        decided = {
            "decision": decision.verdict,
            "decided_by": decision.decided_by,
            "decision_rule": decision.rule,
        }
        events = [self._recorder.event("tool.decided", {**common, **decided})]
        if not decision.allowed:
            denied = {"status": "denied", "severity": "warning", "category": "permission"}
            events.append(self._recorder.event("security.denied", {**common, **denied}))
        return events


def _allowed(answers: Sequence[ToolsServed], subject: Subject) -> ToolsServed:
    """Leave out what the agent could not call: a tool that is not granted does not exist."""
    tools: dict[str, Tool] = {}
    absent: dict[str, str] = {}
    fingerprints: dict[str, str] = {}
    for answer in answers:
        absent |= answer.absent
        fingerprints |= answer.fingerprints
        for name, tool in answer.tools.items():
            decision = authorize((ToolRequest(name),), subject)
            if decision.verdict == "deny":
                absent[name] = decision.reason
            else:
                tools[name] = tool
    absent = {name: why for name, why in absent.items() if name not in tools}
    return ToolsServed(tools, absent, {name: fingerprints.get(name, "") for name in tools})

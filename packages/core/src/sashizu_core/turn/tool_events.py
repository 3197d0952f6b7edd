"""What the record says of a tool call: asked for, decided, denied, ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sashizu_core.events import Event
from sashizu_core.granting import request_text
from sashizu_core.grants import PermissionRequest
from sashizu_core.turn.pending_call import PendingCall
from sashizu_core.turn.record import Recorder
from sashizu_core.types import Decision, StepKind

__all__ = ["ToolEvents"]


@dataclass(frozen=True, slots=True)
class ToolEvents:
    """Makes the events of the tool calls of one agent."""

    recorder: Recorder

    def intent(self, state: PendingCall, kind: StepKind) -> list[Event]:
        """What is written before a call is made, or refused."""
        recorder = self.recorder
        common: dict[str, Any] = {
            "step": state.seq,
            "step_kind": kind.value,
            "op": "execute_tool",
            "tool": state.call.name,
            "tool_call_id": state.call.id,
        }
        arguments, hidden = self.recorder.redactor.counted(state.call.arguments)
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

    def ended(self, state: PendingCall, kind: StepKind, status: str, took_ns: int) -> Event:
        """What came of a call; `took_ns` are nanoseconds."""
        fields: dict[str, Any] = {
            "step": state.seq,
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
            content, hidden = self.recorder.redactor.counted(state.result.content)
            fields["result_sha256"] = _sha256(content)
            fields |= self.recorder.keep(content, last_words=True)
            fields["bytes"] = len(state.result.content.encode("utf-8", "surrogatepass"))
            if hidden:
                fields["redactions"] = hidden
            if state.result.backend:
                fields["attrs"] = {"backend": state.result.backend}
        return self.recorder.event("tool.ended", fields)

    def denied(self, state: PendingCall) -> Event:
        """A call that is not made because it is not allowed."""
        fields = {
            "step": state.seq,
            "tool": state.call.name,
            "tool_call_id": state.call.id,
            "status": "denied",
            "severity": "warning",
            "category": "permission",
            "decision_reason": state.decision.reason if state.decision else "",
        }
        return self.recorder.event("security.denied", fields)

    def decided_within(
        self, state: PendingCall, request: PermissionRequest, decision: Decision
    ) -> Sequence[Event]:
        """What was decided on a request of a call that runs, such as a connection."""
        recorder = self.recorder
        common = {"step": state.seq, "tool": state.call.name, "tool_call_id": state.call.id}
        attrs = {"request": recorder.redactor.text(request_text(request))}
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
        return events


def _sha256(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

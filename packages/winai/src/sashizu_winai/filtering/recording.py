"""What the record says of messages that were filtered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from sashizu_core.events import Event
from sashizu_core.turn.record import Recorder
from sashizu_core.types import Decision, StepKind

from sashizu_winai.filtering.messages import Notification, Request

__all__ = ["ConnectionRecord", "Recorded"]

_LONGEST_WORD = 200


class Recorded:
    """A request that is on record, and has no end there yet."""

    __slots__ = ("common", "started_ns")

    def __init__(self, common: Mapping[str, Any], started_ns: int) -> None:
        self.common = common
        self.started_ns = started_ns


class ConnectionRecord:
    """Makes and writes the events of one connection.

    Every message is a step: asked for and decided before it passes; what is an effect waits for the
    disk.
    """

    def __init__(self, recorder: Recorder, server: str) -> None:
        self._recorder = recorder
        self._server = server
        self._steps = 0

    async def asked(
        self, message: Request | Notification, name: str, decision: Decision, now_ns: int
    ) -> Recorded:
        """Write that something is asked for, and what was decided.

        Raises:
            RecordError: it cannot be written.
        """
        recorder = self._recorder
        effect = message.method == "tools/call" or decision.decided_by != "default"
        common: dict[str, Any] = {
            "step": self._steps,
            "step_kind": (StepKind.EFFECT if effect else StepKind.PURE).value,
            "op": "filter_mcp",
            "tool": _word(name),
            "tool_type": "mcp",
            "mcp_server": self._server,
            "mcp_method": _word(message.method),
        }
        if isinstance(message, Request):
            common["tool_call_id"] = _word(str(message.id))
        self._steps += 1
        text, hidden = recorder.redactor.counted(json.dumps(message.params))
        args: dict[str, Any] = {"args_sha256": _sha256(text), **recorder.keep(text)}
        if hidden:
            args["redactions"] = hidden
        decided = {
            "decision": decision.verdict,
            "decided_by": decision.decided_by,
            "decision_rule": decision.rule,
            "decision_reason": decision.reason,
        }
        events = [
            recorder.event("tool.requested", {**common, **args}),
            recorder.event("tool.decided", {**common, **decided}),
        ]
        found = Recorded(common, now_ns)
        if not decision.allowed:
            events += self._denied(common, decision.reason)
        elif isinstance(message, Notification):
            events.append(self._ended(found, "ok", 0, now_ns))
        await recorder.record(events)
        if effect and decision.allowed:
            await recorder.durable()
        return found

    async def answered(self, asked: Recorded, status: str, size: int, now_ns: int) -> None:
        """Write what came of a request; `size` are the characters of the answer.

        Raises:
            RecordError: it cannot be written.
        """
        await self._recorder.record([self._ended(asked, status, size, now_ns)])

    async def refused(self, reason: str, direction: str) -> None:
        """Write that a text did not pass that could not be understood, or fits to nothing.

        Raises:
            RecordError: it cannot be written.
        """
        fields = {
            "op": "filter_mcp",
            "mcp_server": self._server,
            "status": "denied",
            "severity": "warning",
            "category": "protocol",
            "decision_reason": reason,
            "attrs": {"direction": direction},
        }
        await self._recorder.record([self._recorder.event("security.denied", fields)])

    def _denied(self, common: Mapping[str, Any], reason: str) -> list[Event]:
        told = {"status": "denied", "severity": "warning", "category": "permission"}
        fields = {key: common[key] for key in ("step", "tool", "mcp_server")}
        return [
            self._recorder.event("tool.ended", {**common, "status": "denied"}),
            self._recorder.event("security.denied", {**fields, **told, "decision_reason": reason}),
        ]

    def _ended(self, asked: Recorded, status: str, size: int, now_ns: int) -> Event:
        took = {"duration_ns": now_ns - asked.started_ns, "bytes": size}
        return self._recorder.event("tool.ended", {**asked.common, "status": status, **took})


def _word(text: str) -> str:
    """A name of strangers, short and without what cannot be written."""
    shown = text if len(text) <= _LONGEST_WORD else f"{text[:_LONGEST_WORD]}..."
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)


def _sha256(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

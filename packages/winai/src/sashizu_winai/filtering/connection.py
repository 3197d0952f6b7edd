"""One connection of a client and a server: messages judged, and on record before they pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from time import monotonic_ns
from typing import Any

import anyio
from sashizu_core.errors import RecordError
from sashizu_core.grants import McpRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.tool_fingerprint import tool_fingerprint
from sashizu_core.types import Decision

from sashizu_winai.filtering.messages import (
    BadMessage,
    Message,
    Notification,
    Request,
    Response,
    read_message,
)
from sashizu_winai.filtering.pinning import METHOD, PinnedTools
from sashizu_winai.filtering.recording import ConnectionRecord, Recorded
from sashizu_winai.filtering.verdicts import Direction, Verdict

__all__ = ["JudgedConnection"]

MOST_OPEN = 1_000
"""Requests of one side that have no answer yet."""

MOST_TOOLS = 2_000
"""Tools of one server whose fingerprints are kept."""

MOST_REASON = 1_000
"""Characters of a reason; it quotes what strangers have written."""

_HARMLESS: Mapping[Direction, frozenset[str]] = {
    "client_to_server": frozenset(
        {
            "initialize",
            "logging/setLevel",
            "ping",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
            "server/discover",
            "tools/list",
        }
    ),
    "server_to_client": frozenset({"ping"}),
}
"""What the protocol itself needs, and what only tells what there is: a rule may forbid it. All else
needs a grant."""

_OTHER: Mapping[Direction, Direction] = {
    "client_to_server": "server_to_client",
    "server_to_client": "client_to_server",
}
_PROTOCOL = Decision("allow", "the protocol needs it", "mcp_filter: protocol", "default")


class JudgedConnection:
    """See `FilteredConnection`. What cannot be judged or recorded does not pass."""

    def __init__(
        self, server: str, subject: Subject, record: ConnectionRecord, pinned: PinnedTools
    ) -> None:
        self._server = server
        self._subject = subject
        every = tuple(replace(level, tools=None) for level in subject.chain)
        self._unbounded = replace(subject, chain=every)  # to whom only rules say no
        self._record = record
        self._pinned = pinned
        self._digests: dict[str, str] = {}
        self._open: dict[tuple[Direction, str | int], tuple[Request, Recorded]] = {}
        self._mutex = anyio.Lock()

    async def judge(self, message: str, direction: Direction) -> Verdict:
        async with self._mutex:
            try:
                return await self._judged(message, direction)
            except RecordError as error:
                return Verdict(allowed=False, reason=f"it cannot be put on record: {error}")

    async def _judged(self, text: str, direction: Direction) -> Verdict:
        try:
            message = read_message(text)
            fault = self._fault(message, direction)
        except BadMessage as error:
            fault = str(error)
        else:
            if not fault:
                return await self._of(message, len(text), direction)
        await self._record.refused(fault, direction)
        return Verdict(allowed=False, reason=fault)

    def _fault(self, message: Message, direction: Direction) -> str:
        """Why a message does not fit into the conversation; empty if it does."""
        match message:
            case Response(id=known):
                if (_OTHER[direction], known) not in self._open:
                    return "it answers nothing that was asked, or something a second time"
            case Request(id=known):
                if (direction, known) in self._open:
                    return "its id is that of a request that is not answered yet"
                if len(self._open) >= MOST_OPEN:
                    return f"{MOST_OPEN} requests wait for an answer"
        return ""

    async def _of(self, message: Message, size: int, direction: Direction) -> Verdict:
        now = monotonic_ns()
        if isinstance(message, Response):
            asked, recorded = self._open.pop((_OTHER[direction], message.id))
            if asked.method == "tools/list" and direction == "server_to_client":
                self._learn(message.result or {})
            failed = message.result is None or message.result.get("isError") is True
            await self._record.answered(recorded, "error" if failed else "ok", size, now)
            return Verdict(allowed=True)
        name, decision = self._decided(message, direction)
        recorded = await self._record.asked(message, name, decision, now)
        if decision.allowed and isinstance(message, Request):
            self._open[direction, message.id] = (message, recorded)
        return Verdict(decision.allowed, "" if decision.allowed else decision.reason)

    def _decided(
        self, message: Request | Notification, direction: Direction
    ) -> tuple[str, Decision]:
        """The name under which a message is judged, and what is decided."""
        request = McpRequest(self._server, METHOD + message.method.replace("/", "."), "")
        if _needed(message, direction):
            decision = authorize([request], self._unbounded)
            decision = _PROTOCOL if decision.allowed else decision
        else:
            if message.method == "tools/call" and direction == "client_to_server":
                request = self._call(message.params.get("name"))
            decision = authorize([request], self._subject, [self._pinned])
        if decision.verdict == "ask":
            reason = f"{decision.reason} (nobody can be asked while a message waits)"
            decision = Decision("deny", reason, decision.rule, decision.decided_by, decision.source)
        short = replace(decision, reason=decision.reason[:MOST_REASON])
        return f"{self._server}/{request.tool}", short

    def _call(self, name: object) -> McpRequest:
        """What calling a tool asks for; a name that cannot be one is judged as none."""
        tool = name if isinstance(name, str) and not name.startswith(METHOD) else ""
        return McpRequest(self._server, tool, self._digests.get(tool, ""))

    def _learn(self, result: Mapping[str, Any]) -> None:
        """Remember what the server tells of its tools."""
        listed = result.get("tools")
        told = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        names = Counter(str(one.get("name")) for one in told)
        if len(self._digests.keys() | names.keys()) > MOST_TOOLS:
            return
        found = {
            name: tool_fingerprint(one) for one in told if names[name := str(one.get("name"))] == 1
        }
        for name in names.keys() - found.keys():  # two of a name: nobody knows which is called
            self._digests.pop(name, None)
        self._digests |= found
        self._pinned.learn(self._server, found)


def _needed(message: Request | Notification, direction: Direction) -> bool:
    """Whether the protocol needs a message, or it only tells what there is."""
    if isinstance(message, Notification):
        return message.method.startswith("notifications/")
    return message.method in _HARMLESS[direction]

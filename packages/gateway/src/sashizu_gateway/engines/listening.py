"""What a program says of its work, line by line, as events of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from anyio import EndOfStream
from anyio.abc import ByteReceiveStream
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import Usage

__all__ = ["Heard", "Listener", "lines_of", "tail_of"]

LONGEST_LINE = 8 * 1024 * 1024
"""Bytes of a line that are read; what is longer is no event."""

MOST_EVENTS = 20_000
"""Events of one program that are recorded."""

LONGEST_SUMMARY = 500
LONGEST_ANSWER = 400_000
_TAIL = 8 * 1024


@dataclass(slots=True)
class Heard:
    """What a program said so far. `failed` is what went wrong, in its words."""

    answer: str = ""
    failed: str = ""
    declared: Usage | None = None


@dataclass(slots=True)
class Listener:
    """Takes what a program says it does; its words are kept as its words.

    Tools that it called are recorded under its own name and theirs, such as
    `codex/command_execution`, and marked as declared by it: nobody has seen them.
    """

    name: str
    steps: StepContext
    on_text: Callable[[str], None] | None = None
    progress: Callable[[str], None] | None = None
    heard: Heard = field(default_factory=Heard)
    _begun: dict[str, int] = field(default_factory=dict)
    _count: int = 0

    def said(self, text: object) -> None:
        """It has spoken; what it says last is its answer."""
        if not isinstance(text, str) or not text:
            return
        self.heard.answer = text[:LONGEST_ANSWER]
        if self.on_text is not None:
            self.on_text(self.heard.answer + "\n")

    def used(self, usage: Usage | None) -> None:
        """It says what it used."""
        self.heard.declared = usage if usage is not None else self.heard.declared

    def failed(self, text: object) -> None:
        """It says what went wrong."""
        self.heard.failed = str(text)[:2000] or "it failed"

    def recovered(self) -> None:
        """What went wrong was no failure: it went on."""
        self.heard.failed = ""

    def tool(
        self,
        kind: str,
        call_id: str,
        state: Literal["begun", "ok", "error"],
        about: Mapping[str, Any],
    ) -> None:
        """It says that it calls a tool of its own, or has called it."""
        self._count += 1
        if self._count > MOST_EVENTS:
            return
        call_id, recorder = call_id[:128], self.steps.recorder
        if state == "begun" or call_id not in self._begun:
            self._begun[call_id] = self.steps.next_seq()
        fields: dict[str, Any] = {
            "step": self._begun[call_id],
            "op": "execute_tool",
            "tool": f"{self.name}/{kind}"[:128],
            "tool_type": "foreign",
            "tool_call_id": call_id,
            "attrs": {"declared_by": self.name, **_short(about)},
        }
        if state == "begun":
            recorder.write([recorder.event("tool.requested", fields)])
            if self.progress is not None:
                self.progress(f"{kind}: {_line(about)}")
            return
        recorder.write([recorder.event("tool.ended", {**fields, "status": state})])


def _short(about: Mapping[str, Any]) -> dict[str, Any]:
    """Facts that fit into an event."""
    found: dict[str, Any] = {}
    for name, value in list(about.items())[:20]:
        if isinstance(value, str):
            found[name] = value[:LONGEST_SUMMARY]
        elif isinstance(value, int | float | bool):
            found[name] = value
        elif isinstance(value, list):
            found[name] = [str(each)[:LONGEST_SUMMARY] for each in value[:50]]
    return found


def _line(about: Mapping[str, Any]) -> str:
    """The most telling fact, on one line."""
    text = next((value for value in about.values() if isinstance(value, str)), "")
    return " ".join(text.split())[:200]


async def lines_of(stream: ByteReceiveStream) -> AsyncIterator[Mapping[str, Any]]:
    """The JSON objects among the lines of a stream; other lines are nothing."""
    held: list[bytes] = []
    size = 0
    while True:
        try:
            data = await stream.receive()
        except EndOfStream:
            data = b""
        *lines, rest = data.split(b"\n") if data else ([b""] if held else []) + [b""]
        for line in lines:
            whole = b"".join([*held, line]) if size <= LONGEST_LINE else b""
            held, size = [], 0
            if (found := _object(whole)) is not None:
                yield found
        if not data:
            return
        size += len(rest)
        if rest and size <= LONGEST_LINE:
            held.append(rest)


def _object(line: bytes) -> Mapping[str, Any] | None:
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


async def tail_of(stream: ByteReceiveStream, kept: bytearray) -> None:
    """Read a stream to its end, and keep the last of it."""
    while True:
        try:
            kept += await stream.receive()
        except EndOfStream:
            return
        del kept[:-_TAIL]

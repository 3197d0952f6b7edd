"""The events of what another program tells of a session.

Every event has `attrs.declared_by` and, in `attrs.declared_ns`, when it is said to have been; its
own time is that of the import.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from hashlib import sha256
from time import time_ns
from typing import Any, Literal

from sashizu_core.events import Event

from sashizu_audit.foreign import ModelCall, Session, ToolCall

__all__ = ["PROGRAMS", "Program", "Telling"]

Program = Literal["codex", "claude"]
PROGRAMS: tuple[Program, ...] = ("codex", "claude")

_DEEPEST = 64


class Telling:
    """The events of one session; the first of its tree makes the run."""

    def __init__(self, program: Program, session: Session, all_: Mapping[str, Session]) -> None:
        self._program = program
        self.session = session
        above = _above(session, all_)
        root = above[-1] if above else session
        self.is_root = not above
        self._begun_ns = session.begun_ns
        self.agent_id = _id(program, "agent", session.key, 0)
        self._common: dict[str, Any] = {
            "run_id": _id(program, "run", root.key, root.begun_ns),
            "actor": f"user:{getpass.getuser()}",
        }
        self._who = {
            **self._common,
            "agent_id": self.agent_id,
            "agent_name": f"{program}/{session.name}",
            "conversation_id": session.key,
            "depth": min(len(above), 2**16 - 1),
        }
        if above:
            self._who["parent_agent_id"] = _id(program, "agent", above[0].key, 0)

    def go_on(self) -> None:
        """Tell of what the session did since: another agent of the run that is on record."""
        steps = self.session.steps
        first = next(step.response_id for step in steps if isinstance(step, ModelCall))
        self._begun_ns = next((step.when_ns for step in steps if step.when_ns), self._begun_ns)
        self.is_root = False
        key = f"{self.session.key}\0{first}"
        self._who["agent_id"] = _id(self._program, "agent", key, 0)

    def events(self) -> Iterator[Event]:
        session = self.session
        calls = [step for step in session.steps if isinstance(step, ModelCall)]
        took = {"status": "declared", "duration_ns": session.ended_ns - self._begun_ns}
        tokens = sum(call.usage.tokens for call in calls)
        sums = {"steps": len(session.steps), "tokens": tokens, "requests": len(calls)}
        begun, ended = self._attrs(self._begun_ns), self._attrs(session.ended_ns)
        run = {**self._common, "op": "invoke_workflow"}
        agent = {**self._who, "op": "invoke_agent"}
        if self.is_root:
            yield Event("run.started", {**run, "attrs": begun})
        model = {"model": calls[0].model} if calls and calls[0].model else {}
        yield Event("agent.started", {**agent, **model, "attrs": begun})
        for number, step in enumerate(session.steps):
            yield from self._step(number, step)
        yield Event("agent.ended", {**agent, **took, "attrs": ended | sums})
        if self.is_root:
            yield Event("run.ended", {**run, **took, "attrs": ended})

    def _step(self, number: int, step: ModelCall | ToolCall) -> Iterator[Event]:
        common = {**self._who, "step": number, "attrs": self._attrs(step.when_ns)}
        if isinstance(step, ModelCall):
            told = {"provider": step.provider, "model": step.model, "op": "chat"}
            fields = common | {name: value for name, value in told.items() if value}
            yield Event("model.requested", fields)
            used = {k: v for k, v in asdict(step.usage).items() if k != "requests"}
            answer = {"response_id": step.response_id} if step.response_id else {}
            fields = {**fields, **used, **answer, "tokens": step.usage.tokens, "status": "ok"}
            yield Event("model.answered", fields)
            return
        fields = {
            **common,
            "op": "execute_tool",
            "tool": f"{self._program}/{step.tool}",
            "tool_type": "foreign",
            "tool_call_id": step.call_id,
        }
        yield Event("tool.requested", fields)
        if step.status:
            yield Event("tool.ended", {**fields, "status": step.status})

    def _attrs(self, when_ns: int) -> dict[str, Any]:
        told = {"declared_ns": when_ns} if when_ns else {}
        return {"declared_by": self._program, "imported": True, **told}


def _above(session: Session, all_: Mapping[str, Session]) -> list[Session]:
    """Who started it, who started that one, and so on; none where files say what cannot be."""
    found: list[Session] = []
    seen = {session.key}
    parent = all_.get(session.parent)
    while parent is not None:
        if parent.key in seen or len(found) == _DEEPEST:
            return []
        seen.add(parent.key)
        found.append(parent)
        parent = all_.get(parent.parent)
    return found


def _id(program: Program, what: str, key: str, begun_ns: int) -> str:
    """A UUID that is the same each time and begins with the time, but none that a run of ours has.

    Version 8 of RFC 9562; where the time cannot be true it is 0.
    """
    ms = begun_ns // 10**6 if begun_ns <= time_ns() else 0
    digest = sha256("\0".join((program, what, key)).encode("utf-8", "surrogatepass")).digest()
    number = (ms & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(digest[:10], "big")
    number = number & ~(0xF << 76) | 0x8 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

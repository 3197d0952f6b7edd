"""Records what other programs tell of their sessions: as told by them, never as seen.

Every event has `attrs.declared_by` and, in `attrs.declared_ns`, when it is said to have been; its
own time is that of the import. Texts are not taken over.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from time import time_ns
from typing import Any, Literal

from sashizu_core.events import Event

from sashizu_audit.foreign import MOST_STEPS, Found, ModelCall, Session, ToolCall
from sashizu_audit.spool import WriterOptions
from sashizu_audit.writer import AuditWriter

__all__ = ["PROGRAMS", "Imported", "Program", "import_sessions"]

Program = Literal["codex", "claude"]
PROGRAMS: tuple[Program, ...] = ("codex", "claude")

_KNOWN = """
SELECT DISTINCT CAST(agent_id AS VARCHAR) FROM agent_executions WHERE declared_by = ?
"""
_ANSWERED = """
SELECT DISTINCT response_id FROM events
WHERE kind = 'model.answered' AND response_id IS NOT NULL
  AND json_extract_string(attrs, '$.declared_by') = ?
"""
_MOST_KNOWN = 10_000_000
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import took. `known` sessions were on record already, `too_long` ones not taken."""

    runs: int
    sessions: int
    model_calls: int
    tool_calls: int
    tokens: int
    known: int
    too_long: int
    files: int
    skipped_files: int
    lines: int
    skipped_lines: int


def import_sessions(
    folder: Path,
    program: Program,
    place: Path,
    options: WriterOptions,
    clean: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> Imported:
    """Record the sessions in the files at or beneath `place`, each once. Blocks.

    A session is recorded whole or not at all; one that is on record is left as it is. `clean` takes
    secrets out of the columns of an event.

    Raises:
        UsageError: there is nothing at `place`.
        RecordError: something cannot be recorded.
    """
    found = _read(program, place)
    known, answered = _on_record(folder, program)
    counts = dict.fromkeys(("runs", "sessions", "model_calls", "tool_calls", "tokens"), 0)
    counts |= {"known": 0, "too_long": 0}
    with AuditWriter(folder, options=options) as writer:
        for session in found.sessions.values():
            told = _Telling(program, session, found.sessions)
            if told.agent_id in known:
                counts["known"] += 1
            elif len(session.steps) > MOST_STEPS:
                counts["too_long"] += 1
            else:
                session.steps = [s for s in session.steps if not _is_answered(s, answered)]
                writer.write([Event(e.kind, clean(e.fields)) for e in told.events()])
                _count(counts, session, is_root=told.is_root)
        writer.flush()
    return Imported(
        **counts,
        files=found.files,
        skipped_files=found.skipped_files,
        lines=found.lines,
        skipped_lines=found.skipped_lines,
    )


def _read(program: Program, place: Path) -> Found:
    if program == "codex":
        from sashizu_audit.codex_sessions import read_codex

        return read_codex(place)
    from sashizu_audit.claude_sessions import read_claude

    return read_claude(place)


def _on_record(folder: Path, program: Program) -> tuple[set[str], set[str]]:
    """The agents of this program, and the answers that they got."""
    from sashizu_audit.store import AuditStore

    if not (folder / "store.json").exists():
        return set(), set()
    store = AuditStore(folder)
    agents, answers = (
        {str(row[0]) for row in store.query(sql, [program], limit=_MOST_KNOWN).rows}
        for sql in (_KNOWN, _ANSWERED)
    )
    return agents, answers


def _is_answered(step: ModelCall | ToolCall, answered: set[str]) -> bool:
    return isinstance(step, ModelCall) and step.response_id in answered


def _count(counts: dict[str, int], session: Session, *, is_root: bool) -> None:
    calls = [step for step in session.steps if isinstance(step, ModelCall)]
    counts["runs"] += is_root
    counts["sessions"] += 1
    counts["model_calls"] += len(calls)
    counts["tool_calls"] += len(session.steps) - len(calls)
    counts["tokens"] += sum(call.usage.tokens for call in calls)


# --- events ---------------------------------------------------------------------------------------


class _Telling:
    """The events of one session; the first of its tree makes the run."""

    def __init__(self, program: Program, session: Session, all_: Mapping[str, Session]) -> None:
        self._program = program
        self._session = session
        above = _above(session, all_)
        root = above[-1] if above else session
        self.is_root = not above
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

    def events(self) -> Iterator[Event]:
        session = self._session
        calls = [step for step in session.steps if isinstance(step, ModelCall)]
        took = {"status": "declared", "duration_ns": session.ended_ns - session.begun_ns}
        tokens = sum(call.usage.tokens for call in calls)
        sums = {"steps": len(session.steps), "tokens": tokens, "requests": len(calls)}
        begun, ended = self._attrs(session.begun_ns), self._attrs(session.ended_ns)
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

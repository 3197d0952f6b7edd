"""Records what other programs tell of their sessions: as told by them, never as seen.

Every event has `attrs.declared_by` and, in `attrs.declared_ns`, when it is said to have been; its
own time is that of the import. Texts are not taken over. What a session did after it was imported
becomes a further agent of its run, so that every event of the first one stays true.
"""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any, Literal

from sashizu_core.errors import RecordError
from sashizu_core.events import Event

from sashizu_audit.disk import locked
from sashizu_audit.foreign import MOST_STEPS, Found, ModelCall, Session, ToolCall
from sashizu_audit.spool import WriterOptions
from sashizu_audit.writer import AuditWriter

if TYPE_CHECKING:
    from sashizu_audit.store import AuditStore

__all__ = ["PROGRAMS", "Imported", "Program", "import_sessions"]

Program = Literal["codex", "claude"]
PROGRAMS: tuple[Program, ...] = ("codex", "claude")

_Clean = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_KNOWN = """
SELECT DISTINCT CAST(agent_id AS VARCHAR) FROM agent_executions WHERE declared_by = ?
"""
_ANSWERED = """
SELECT DISTINCT response_id FROM events
WHERE kind = 'model.answered' AND response_id IS NOT NULL
  AND json_extract_string(attrs, '$.declared_by') = ?
"""
_ASKED = """
SELECT DISTINCT tool_call_id FROM events
WHERE kind = 'tool.requested' AND tool_call_id IS NOT NULL
  AND json_extract_string(attrs, '$.declared_by') = ?
"""
_MOST_KNOWN = 10_000_000
_PATIENCE_S = 3600.0
_DEEPEST = 64


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import took.

    `known` sessions were on record already; of these, `grown` ones had gone on since, and that was
    taken. `too_long` ones were not taken.
    """

    runs: int
    sessions: int
    model_calls: int
    tool_calls: int
    tokens: int
    known: int
    grown: int
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
    clean: _Clean,
) -> Imported:
    """Record the sessions in the files at or beneath `place`, each once. Blocks.

    A session is recorded whole or not at all; of one that is on record what it did since. `clean`
    takes secrets out of the columns of an event.

    Raises:
        UsageError: there is nothing at `place`.
        RecordError: something cannot be recorded, or another import is at work.
    """
    found = _read(program, place)
    counts = dict.fromkeys(("runs", "sessions", "model_calls", "tool_calls", "tokens"), 0)
    counts |= {"known": 0, "grown": 0, "too_long": 0}
    with AuditWriter(folder, options=options) as writer, _alone(folder):
        known = _on_record(folder, program)
        for session in found.sessions.values():
            events = _new_events(_Telling(program, session, found.sessions), known, clean, counts)
            writer.write([Event(event.kind, clean(event.fields)) for event in events])
        writer.flush()
    return Imported(
        **counts,
        files=found.files,
        skipped_files=found.skipped_files,
        lines=found.lines,
        skipped_lines=found.skipped_lines,
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two imports at once would both find that a session is not on record."""
    with locked(folder / "import.lock") as mine:
        if not mine:
            raise RecordError("another import into this record is at work; nothing was imported")
        yield


def _new_events(
    told: _Telling, known: _Known, clean: _Clean, counts: dict[str, int]
) -> Iterable[Event]:
    """The events of a session that are to be recorded; counts what becomes of it."""
    session = told.session
    if len(session.steps) > MOST_STEPS:
        counts["too_long"] += 1
        return ()
    if told.agent_id in known.agents:
        counts["known"] += 1
        if not _keep_new(session, known, clean):
            return ()
        counts["grown"] += 1
        told.go_on()
    else:
        session.steps = [step for step in session.steps if not known.answered(step)]
    _count(counts, session, is_root=told.is_root)
    return told.events()


def _keep_new(session: Session, known: _Known, clean: _Clean) -> bool:
    """Keep what a session did that is not on record; false where nobody can tell, or it is nothing.

    Answers without an id, as older files have them, cannot be told from those on record, nor can
    those whose id is not recorded as it is.
    """
    for step in session.steps:
        if isinstance(step, ModelCall):
            told = {"response_id": step.response_id}
            if not step.response_id or clean(told) != told:
                return False
    steps = [step for step in session.steps if not known.answered(step) and not known.asked(step)]
    if not any(isinstance(step, ModelCall) for step in steps):
        return False
    session.steps = steps
    return True


def _read(program: Program, place: Path) -> Found:
    if program == "codex":
        from sashizu_audit.codex_sessions import read_codex

        return read_codex(place)
    from sashizu_audit.claude_sessions import read_claude

    return read_claude(place)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is on record of a program: agents, answers that they got, and calls of tools."""

    agents: set[str] = field(default_factory=set)
    answers: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)

    def answered(self, step: ModelCall | ToolCall) -> bool:
        return isinstance(step, ModelCall) and step.response_id in self.answers

    def asked(self, step: ModelCall | ToolCall) -> bool:
        return isinstance(step, ToolCall) and (not step.call_id or step.call_id in self.calls)


def _on_record(folder: Path, program: Program) -> _Known:
    from sashizu_audit.store import AuditStore

    if not (folder / "store.json").exists():
        return _Known()
    store = AuditStore(folder)
    return _Known(*(_ids(store, sql, program) for sql in (_KNOWN, _ANSWERED, _ASKED)))


def _ids(store: AuditStore, sql: str, program: Program) -> set[str]:
    rows = store.query(sql, [program], limit=_MOST_KNOWN, timeout_s=_PATIENCE_S)
    if rows.truncated:
        raise RecordError(
            "more is on record of this program than can be compared, so something could count "
            "twice; import into another record with --store"
        )
    return {str(row[0]) for row in rows.rows}


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

"""Records what other programs tell of their sessions: as told by them, never as seen.

Texts are not taken over. What a session did after it was imported
becomes a further agent of its run, so that every event of the first one stays true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sashizu_core.errors import RecordError
from sashizu_core.events import Event

from sashizu_audit.declaring import PROGRAMS, Program, Telling
from sashizu_audit.disk import locked
from sashizu_audit.foreign import MOST_STEPS, Found, ModelCall, Session, ToolCall
from sashizu_audit.quota import share_of_quota
from sashizu_audit.spool import WriterOptions
from sashizu_audit.writer import AuditWriter

if TYPE_CHECKING:
    from sashizu_audit.store import AuditStore

__all__ = ["PROGRAMS", "Imported", "Program", "import_sessions"]

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
_MEASURED = 10_000
"""After so many events an import looks whether the record has room for more."""


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
    *,
    quota_mib: int = 0,
) -> Imported:
    """Record the sessions in the files at or beneath `place`, each once. Blocks.

    A session is recorded whole or not at all; of one that is on record what it did since. `clean`
    takes secrets out of the columns of an event. `quota_mib` bounds the room of the record, 0 does
    not; the sessions that were recorded before it was full stay.

    Raises:
        UsageError: there is nothing at `place`.
        RecordError: something cannot be recorded, the record is full, or another import is at work.
    """
    share_of_quota(folder, quota_mib, "nothing was imported")
    found = _read(program, place)
    counts = dict.fromkeys(("runs", "sessions", "model_calls", "tool_calls", "tokens"), 0)
    counts |= {"known": 0, "grown": 0, "too_long": 0}
    with AuditWriter(folder, options=options) as writer, _alone(folder):
        known = _on_record(folder, program)
        unmeasured = 0
        for session in found.sessions.values():
            if unmeasured >= _MEASURED:
                unmeasured = 0
                share_of_quota(folder, quota_mib, _so_far(counts))
            told = _new_events(Telling(program, session, found.sessions), known, clean, counts)
            events = [Event(event.kind, clean(event.fields)) for event in told]
            writer.write(events)
            unmeasured += len(events)
        writer.flush()
    return Imported(
        **counts,
        files=found.files,
        skipped_files=found.skipped_files,
        lines=found.lines,
        skipped_lines=found.skipped_lines,
    )


def _so_far(counts: Mapping[str, int]) -> str:
    return f"the import ended after {counts['sessions']} sessions; the next one goes on from there"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two imports at once would both find that a session is not on record."""
    with locked(folder / "import.lock") as mine:
        if not mine:
            raise RecordError("another import into this record is at work; nothing was imported")
        yield


def _new_events(
    told: Telling, known: _Known, clean: _Clean, counts: dict[str, int]
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

"""Reads one run back, line by line, for whoever makes it again or goes on with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.recorded import RecordedRun

from sashizu_audit.blobs import blob_path
from sashizu_audit.disk import lock
from sashizu_audit.segments import by_writer, find_segments
from sashizu_audit.store import AuditStore
from sashizu_audit.verify import verify_record

__all__ = ["recorded_run"]

_WRITERS = """
SELECT DISTINCT CAST(run_id AS VARCHAR) AS run, writer_id FROM events
WHERE starts_with(CAST(run_id AS VARCHAR), ?)
"""
_NEWEST = (
    "SELECT CAST(run_id AS VARCHAR) FROM runs WHERE replay_of IS NULL ORDER BY started DESC LIMIT 1"
)

_WENT_ON = """
SELECT CAST(run_id AS VARCHAR) FROM events
WHERE kind = 'run.started' AND json_extract_string(attrs, '$.resumes') = ? ORDER BY ts_ns
"""


def recorded_run(folder: Path, wanted: str) -> RecordedRun:
    """One run, by its id, the beginning of it, or `last`, which no replay is. Blocks.

    Raises:
        UsageError: there is none, or more than one.
        SashizuError: the record cannot be read.
    """
    run_id, writers = _found(AuditStore(folder), wanted.lower())
    events = [event for writer in sorted(writers) for event in _events(folder, writer, run_id)]
    heads = {str(e["writer_id"]): (int(e["seq"]), str(e["h"])) for e in events}
    ended = any(event["kind"] == "run.ended" for event in events)
    report = verify_record(folder)
    own = [each for each in report.writers if each.writer_id in writers]
    # What is said of sealed files and of checkpoints may be all that tells of a chain made anew,
    # and tables say who wrote of the run.
    told = [*report.findings, *(finding for each in own for finding in each.findings)]
    problems = [
        f"{finding.file}:{finding.line}: {finding.reason}"
        for finding in told
        if finding.grade == "damage"
    ]
    alive = not ended and any(each.alive for each in own)
    claimed = partial(_claimed, folder, run_id)
    return RecordedRun(run_id, events, _texts(folder), heads, alive, tuple(problems), claimed)


@contextmanager
def _claimed(folder: Path, run_id: str) -> Generator[Sequence[str]]:
    """See `RecordedRun.claimed`. The lock ends with its process, and its file says nothing.

    Raises:
        UsageError: another process goes on with the run.
        SashizuError: the lock cannot be had.
    """
    file = folder / "claims" / f"{run_id}.lock"
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        raise SashizuError(f"run {run_id} cannot be gone on with: {file}: {error}") from error
    try:
        try:
            lock(fd)
        except OSError as error:
            raise UsageError(
                f"another process goes on with run {run_id} at this moment (`sashizu runs list`)"
            ) from error
        yield tuple(str(row[0]) for row in AuditStore(folder).query(_WENT_ON, [run_id]).rows)
    finally:
        os.close(fd)


def _found(store: AuditStore, wanted: str) -> tuple[str, set[str]]:
    """The whole id of a run, and who wrote of it."""
    if wanted == "last":
        newest = store.query(_NEWEST).rows
        wanted = str(newest[0][0]) if newest else wanted
    runs: dict[str, set[str]] = {}
    for run, writer in store.query(_WRITERS, [wanted]).rows if wanted else ():
        runs.setdefault(str(run), set()).add(str(writer))
    if len(runs) == 1:
        return runs.popitem()
    if runs:
        raise UsageError(f"{wanted!r} names {len(runs)} runs: {', '.join(sorted(runs)[:5])}")
    raise UsageError(
        f"there is no run {wanted!r} in the record in {str(store.folder)!r} "
        "(`sashizu audit query runs` lists them)"
    )


def _events(folder: Path, writer: str, run_id: str) -> Iterator[Mapping[str, Any]]:
    """The events of a run by one writer, in their order."""
    files = by_writer(find_segments(folder)).get(writer, {})
    needle = run_id.encode()
    for number in sorted(files):
        with files[number].open() as lines:
            yield from _of_run(lines, needle, run_id)


def _of_run(lines: Iterable[bytes], needle: bytes, run_id: str) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        if needle not in line:
            continue
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # what a crash left of a line
        if isinstance(event, dict) and event.get("run_id") == run_id and "h" in event:
            yield event


def _texts(folder: Path) -> Callable[[str], str | None]:
    def text(digest: str) -> str | None:
        try:
            data = blob_path(folder, digest).read_bytes()
        except OSError:
            return None
        if sha256(data).hexdigest() != digest:
            return None  # it was changed
        return data.decode("utf-8", "surrogatepass")

    return text

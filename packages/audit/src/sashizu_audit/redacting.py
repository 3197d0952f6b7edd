"""Takes secrets out of what is sealed, and proves that nothing else was changed.

A line that is redacted keeps its `h`, so that the chain goes on; a signed digest says which line it
is now. Each step can be broken off; the next attempt goes on from what is there:

1. segments are packed anew beside the old ones,
2. a signed checkpoint names every line that is changed, by number and SHA-256,
3. the record says what was done, and what the new files are,
4. queries leave the tables; the new files take the place of the old ones, and kept texts go,
5. tables are made anew.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from sashizu_core.errors import RecordError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7
from sashizu_core.redaction import Redactor

from sashizu_audit.caching import remove_strays, vouching
from sashizu_audit.disk import sync_folder, sync_path
from sashizu_audit.manifest import Manifest, Sealed, write_manifest
from sashizu_audit.notes import Signer
from sashizu_audit.packing import described, digest
from sashizu_audit.scanning import clean_line, dirty_lines
from sashizu_audit.seal_lock import own_name, readable_manifest, sealing_lock
from sashizu_audit.sealing import finish_sealing, grouped, take_in
from sashizu_audit.segments import SegmentFile, sealed_segments
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.writer import AuditWriter

__all__ = ["Redaction", "redact_record"]

Step = Callable[[str], None]
_LINES_PER_EVENT = 200


@dataclass(frozen=True, slots=True)
class Redaction:
    """What was taken out. `checkpoint` says which lines were changed; 0 if none was."""

    lines: int
    segments: int
    texts: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class _Rewritten:
    file: SegmentFile
    part: Path
    sealed: Sealed
    lines: tuple[tuple[int, str], ...]  # number of the event, SHA-256 of its line


def _go_on(_step: str) -> None:
    """What is called after each step, unless a test wants to be."""


def redact_record(
    folder: Path, redactor: Redactor, signer: Callable[[], Signer], *, step: Step = _go_on
) -> Redaction:
    """Take the secrets that `redactor` knows out of sealed segments and kept texts. Blocks.

    Raises:
        RecordError: it cannot be done, or another process is sealing.
    """
    try:
        with sealing_lock(folder) as mine:
            if not mine:
                raise RecordError("another process is sealing or pruning this record; try later")
            manifest = readable_manifest(folder)
            remove_strays(folder, manifest)
            finish_sealing(folder, manifest)
            found = [
                _rewritten(file, redactor) for _, file in sorted(sealed_segments(folder).items())
            ]
            rewritten = [one for one in found if one is not None]
            texts = _dirty_texts(folder, redactor)
            if not rewritten and not texts:
                return Redaction(0, 0, 0, 0)
            return _carry_out(folder, signer, rewritten, texts, step)
    except OSError as error:
        raise RecordError(
            f"the record in {str(folder)!r} cannot be redacted: {error.strerror or error}; try "
            "again when that is mended"
        ) from error


def _carry_out(
    folder: Path,
    signer: Callable[[], Signer],
    rewritten: Sequence[_Rewritten],
    texts: Sequence[Path],
    step: Step,
) -> Redaction:
    checkpoint = 0
    if rewritten:
        told = [
            {"writer_id": w, "segment": n, "seq": seq, "line_sha256": line}
            for one in rewritten
            for w, n in [one.file.key]
            for seq, line in one.lines
        ]
        checkpoint = make_checkpoint(folder, signer(), {"redacted": told}).size
    step("signed")
    with AuditWriter(folder) as writer:
        for event in _events(rewritten, texts, checkpoint):
            writer.write([event])
        writer.flush()
    step("recorded")
    again = _leave_tables(folder, rewritten)
    step("untabled")
    for path in texts:
        path.unlink(missing_ok=True)
    for one in rewritten:
        one.part.replace(one.file.path)
        sync_folder(one.file.path.parent)
    step("replaced")
    manifest = readable_manifest(folder)
    if again:
        fresh = [described(file) for _, file in sorted(sealed_segments(folder).items())]
        keys = {one.key for one in again}
        groups = grouped([one for one in fresh if one.key in keys])
        manifest = take_in(folder, manifest, groups, "redacted")
    remove_strays(folder, manifest)
    return Redaction(sum(len(o.lines) for o in rewritten), len(rewritten), len(texts), checkpoint)


def _rewritten(file: SegmentFile, redactor: Redactor) -> _Rewritten | None:
    """The segment packed anew without secrets, beside the old one; None if it holds none."""
    changed = {number: clean_line(clean) for number, _, _, clean in dirty_lines(file, redactor)}
    if not changed:
        return None
    lines = []
    part = file.path.with_name(f".{uuid7()}")
    fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o400)
    try:
        with (
            os.fdopen(fd, "wb") as out,
            gzip.GzipFile("", "wb", 6, out, mtime=0) as packed,
            file.open() as old,
        ):
            for number, raw in enumerate(old, 1):
                line = changed.get(number)
                packed.write(raw if line is None else line + raw[len(raw.rstrip(b"\n")) :])
        os.chmod(part, 0o600)  # noqa: PTH101 - to sync it
        sync_path(part)
        os.chmod(part, 0o400)  # noqa: PTH101
        for number, _, event, _ in dirty_lines(file, redactor):
            lines.append((int(event["seq"]), sha256(changed[number]).hexdigest()))
        before = described(file)
        sealed = replace(before, bytes=part.stat().st_size, sha256=digest(part), table="")
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    return _Rewritten(file, part, sealed, tuple(lines))


def _dirty_texts(folder: Path, redactor: Redactor) -> list[Path]:
    found = []
    for path in sorted((folder / "blobs").glob("[0-9a-f][0-9a-f]/*")):
        with suppress(FileNotFoundError):
            if redactor.counted(path.read_text("utf-8", "replace"))[1]:
                found.append(path)
    return found


def _events(rewritten: Sequence[_Rewritten], texts: Sequence[Path], checkpoint: int) -> list[Event]:
    actor = own_name()
    events = []
    for one in rewritten:
        old = {
            "writer_id": one.file.writer_id,
            "segment": one.file.number,
            "checkpoint": checkpoint,
        }
        for start in range(0, len(one.lines), _LINES_PER_EVENT):
            lines = [seq for seq, _ in one.lines[start : start + _LINES_PER_EVENT]]
            attrs = {**old, "events": lines, "sha256": one.sealed.sha256}
            events.append(Event("audit.redacted", {"actor": actor, "status": "ok", "attrs": attrs}))
    for start in range(0, len(texts), _LINES_PER_EVENT):
        names = [path.name for path in texts[start : start + _LINES_PER_EVENT]]
        events.append(Event("audit.redacted", {"actor": actor, "status": "ok", "blobs": names}))
    if rewritten:
        events += vouching(actor, "redacted", None, [one.sealed for one in rewritten])
    return events


def _leave_tables(folder: Path, rewritten: Sequence[_Rewritten]) -> list[Sealed]:
    """Take the tables that hold changed lines out of the manifest; returns what was in them."""
    manifest = readable_manifest(folder)
    fresh = {one.file.key: one.sealed for one in rewritten}
    touched = {one.table for one in manifest.segments if one.key in fresh} - {""}
    segments = []
    again = []
    for one in manifest.segments:
        now = fresh.get(one.key, one)
        if one.table in touched:
            now = replace(now, table="")
            again.append(now)
        segments.append(now)
    tables = tuple(table for table in manifest.tables if table.path not in touched)
    if touched or fresh:
        changed = Manifest(manifest.generation + 1, tables, tuple(segments), manifest.pruned)
        write_manifest(folder, changed)
    return again

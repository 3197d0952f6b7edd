"""Takes secrets out of what is sealed, and proves that nothing else was changed.

A line that is redacted keeps its `h`, so that the chain goes on; a signed digest says which line it
is now. A segment that is not as it was written stays as it is: to sign what its lines are now would
make lawful what somebody changed. Each step can be broken off; the next attempt goes on from what
is there:

1. segments are packed anew beside the old ones,
2. a signed checkpoint names every line that is changed, by number and SHA-256,
3. the record says what was done, and what the new files are,
4. queries leave the tables; the new files take the place of the old ones, and kept texts go,
5. tables are made anew.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from sashizu_core.errors import RecordError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7
from sashizu_core.redaction import Redactor

from sashizu_audit.caching import remove_strays, vouching
from sashizu_audit.chain import verify_lines
from sashizu_audit.checkpoints import read_digests
from sashizu_audit.disk import put_in_place, remove, sync_folder, sync_path
from sashizu_audit.dropped import read_dropped
from sashizu_audit.holds import clean_reasons
from sashizu_audit.manifest import Manifest, Sealed, write_manifest
from sashizu_audit.notes import Signer
from sashizu_audit.packing import described, digest
from sashizu_audit.scanning import DirtyLine, Leak, dirty_lines, dirty_texts, leaks_in
from sashizu_audit.seal_lock import own_name, readable_manifest, sealing_lock
from sashizu_audit.sealing import finish_sealing, grouped, take_in
from sashizu_audit.segments import SegmentFile, SegmentKey, hot_segments, sealed_segments
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import BRIEF
from sashizu_audit.writer import AuditWriter

__all__ = ["Redaction", "redact_record"]

Step = Callable[[str], None]
_LINES_PER_EVENT = 200


@dataclass(frozen=True, slots=True)
class Redaction:
    """What was taken out. `checkpoint` says which lines were changed; 0 if none was.

    `reasons` counts secrets in reasons of holds. `left` are places that hold secrets still, for
    they are being written, or are not as they were written; `faults` says of files why they were
    left, by their names.
    """

    lines: int
    segments: int
    texts: int
    checkpoint: int
    reasons: int = 0
    left: tuple[Leak, ...] = ()
    faults: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Rewritten:
    file: SegmentFile
    part: Path
    sealed: Sealed
    lines: tuple[tuple[int, str], ...]  # number of the event, SHA-256 of its line


@dataclass(slots=True)
class _Found:
    rewritten: list[_Rewritten] = field(default_factory=list)
    odd: list[SegmentFile] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)


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
            found = _rewrite_all(folder, redactor)
            texts = [path for path, _ in dirty_texts(folder, redactor)]
            checkpoint = 0
            if found.rewritten or texts:
                checkpoint = _carry_out(folder, signer, found.rewritten, texts, step)
            reasons = clean_reasons(folder, redactor)
            left = leaks_in([*hot_segments(folder).values(), *found.odd], redactor)
            return Redaction(
                sum(len(one.lines) for one in found.rewritten),
                len(found.rewritten),
                len(texts),
                checkpoint,
                reasons,
                tuple(left),
                tuple(found.faults),
            )
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
) -> int:
    """Put what was rewritten in its place; returns the checkpoint that tells of it, 0 if none."""
    checkpoint = 0
    if any(one.lines for one in rewritten):
        told = [
            {"writer_id": w, "segment": n, "seq": seq, "line_sha256": line}
            for one in rewritten
            for w, n in [one.file.key]
            for seq, line in one.lines
        ]
        checkpoint = make_checkpoint(folder, signer(), {"redacted": told}).size
    step("signed")
    with AuditWriter(folder, options=BRIEF) as writer:
        for event in _events(rewritten, texts, checkpoint):
            writer.write([event])
        writer.flush()
    step("recorded")
    again = _leave_tables(folder, rewritten)
    step("untabled")
    for path in texts:
        path.unlink(missing_ok=True)
    for one in rewritten:
        put_in_place(one.part, one.file.path)
        sync_folder(one.file.path.parent)
    step("replaced")
    manifest = readable_manifest(folder)
    if again:
        groups = grouped(_readable(folder, {one.key for one in again}))
        manifest = take_in(folder, manifest, groups, "redacted")
    remove_strays(folder, manifest)
    return checkpoint


def _readable(folder: Path, keys: Collection[SegmentKey]) -> list[Sealed]:
    """Those of these segments that can be read; the others stay out of tables."""
    found = []
    for key, file in sorted(sealed_segments(folder).items()):
        if key in keys:
            with suppress(OSError):
                found.append(described(file))
    return found


def _rewrite_all(folder: Path, redactor: Redactor) -> _Found:
    """Pack every sealed segment anew that holds secrets, and is as it was written."""
    lawful = read_dropped(read_digests(folder).leaves).lines
    found = _Found()
    for _, file in sorted(sealed_segments(folder).items()):
        try:
            dirty = list(dirty_lines(file, redactor))
            if not dirty:
                continue
            with file.open() as lines:
                checked = verify_lines(lines, lawful.get(file.writer_id, {}).values())
        except OSError as error:
            reason = f"it cannot be read: {error.strerror or error}"
        else:
            if not checked.damage:
                found.rewritten.append(_rewritten(file, dirty))
                continue
            reason = "it is not what was written; `sashizu audit verify` tells"
            found.odd.append(file)
        found.faults.append((file.path.name, reason))
    return found


def _rewritten(file: SegmentFile, dirty: Sequence[DirtyLine]) -> _Rewritten:
    """The segment packed anew without its secrets, beside the old one."""
    changed = {one.number: one for one in dirty}
    part = file.path.with_name(f".{uuid7()}")
    fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o400)
    try:
        with (
            os.fdopen(fd, "wb") as out,
            gzip.GzipFile("", "wb", 6, out, mtime=0) as packed,
            file.open() as old,
        ):
            for number, raw in enumerate(old, 1):
                one = changed.get(number)
                packed.write(raw if one is None else one.clean + raw[len(raw.rstrip(b"\n")) :])
        os.chmod(part, 0o600)  # noqa: PTH101 - to sync it
        sync_path(part)
        os.chmod(part, 0o400)  # noqa: PTH101
        before = described(file)
        sealed = replace(before, bytes=part.stat().st_size, sha256=digest(part), table="")
    except BaseException:
        with suppress(OSError):
            remove(part)
        raise
    told = [(one.seq, sha256(one.clean).hexdigest()) for one in dirty if one.seq >= 0]
    return _Rewritten(file, part, sealed, tuple(told))


def _events(rewritten: Sequence[_Rewritten], texts: Sequence[Path], checkpoint: int) -> list[Event]:
    actor = own_name()
    events = []
    for one in rewritten:
        old = {
            "writer_id": one.file.writer_id,
            "segment": one.file.number,
            "checkpoint": checkpoint,
        }
        for start in range(
            0, max(1, len(one.lines)), _LINES_PER_EVENT
        ):  # half a line has no number
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

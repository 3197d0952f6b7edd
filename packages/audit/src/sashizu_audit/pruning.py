"""Drops what is older than it has to be kept: whole sealed segments, told under a signature.

Each step can be broken off; the next attempt goes on from what is there:

1. every segment that is to go is read and checked; one that is not what was written stays,
2. a signed checkpoint says what each of them was: numbers, hashes, day,
3. the record says that it was done, and by whom,
4. the manifest names them no more, and tables are without them,
5. the files go.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from time import time

from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event

from sashizu_audit.blobs import Blobs
from sashizu_audit.caching import remove_strays
from sashizu_audit.checkpoints import read_digests
from sashizu_audit.disk import free_bytes, remove, sync_folder
from sashizu_audit.dropped import FLOOR_DAYS, read_dropped
from sashizu_audit.holds import keeping_holds
from sashizu_audit.manifest import Manifest, Sealed, write_manifest
from sashizu_audit.notes import Signer
from sashizu_audit.retention import (
    PruneReport,
    Retention,
    choose,
    held_marks,
    is_held,
    pruned_events,
)
from sashizu_audit.seal_lock import own_name, readable_manifest, sealing_lock
from sashizu_audit.sealing import finish_sealing, grouped, take_in
from sashizu_audit.segments import SegmentFile, SegmentKey, sealed_segments
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import BRIEF
from sashizu_audit.usage import measure
from sashizu_audit.verify import record_id
from sashizu_audit.writer import AuditWriter

__all__ = ["prune_record"]

Step = Callable[[str], None]
_PER_DIGEST = 2000
_WAIT_S = 5.0
"""Seconds that are waited for somebody who changes a hold."""

_LITTLE = 16 * 1024 * 1024
"""Free bytes below which the ballast is given up: to drop needs room for what is signed first."""


def _go_on(_step: str) -> None:
    """What is called after each step, unless a test wants to be."""


def prune_record(
    folder: Path,
    signer: Callable[[], Signer],
    retention: Retention,
    *,
    today: date | None = None,
    dry_run: bool = False,
    step: Step = _go_on,
) -> PruneReport:
    """Drop what is older than it has to be kept; `signer` is asked for when something goes. Blocks.

    Raises:
        UsageError: there is no record, or less would be kept than the floor.
        RecordError: it cannot be done, or another process is sealing; nothing is half gone.
    """
    record_id(folder)
    if retention.keep_days < FLOOR_DAYS and not retention.insist:
        raise UsageError(
            f"{retention.keep_days} days are fewer than the {FLOOR_DAYS} that records of agents "
            "are kept at least; --i-know drops them all the same"
        )
    today = today or datetime.fromtimestamp(time(), UTC).date()
    try:
        with sealing_lock(folder) as mine:
            if not mine:
                raise RecordError("another process is sealing or pruning this record; try later")
            with nullcontext() if dry_run else keeping_holds(folder, wait_s=_WAIT_S):
                if not dry_run:
                    _make_room(folder)
                    _finish(folder)
                report = PruneReport("")
                _sweep(folder, retention, report, dry_run)
                over = _over(folder, retention, report.text_bytes if dry_run else 0)
                chosen = choose(folder, retention, today, report, over)
                if chosen and not dry_run:
                    _drop(folder, signer, retention, report, chosen, step)
    except OSError as error:
        raise RecordError(
            f"the record in {str(folder)!r} cannot be pruned: {error.strerror or error}; nothing "
            "is half gone, try again when that is mended"
        ) from error
    return report


# --- what goes ------------------------------------------------------------------------------------


def _sweep(folder: Path, retention: Retention, report: PruneReport, dry_run: bool) -> None:
    """Remove kept texts whose time is over, or say what would go."""
    if not (folder / "blobs").is_dir():
        return
    days = min(retention.text_days or retention.keep_days, retention.keep_days)
    room = retention.text_bytes or sys.maxsize
    blobs = Blobs(folder, room_bytes=room, keep_s=days * 86_400.0)
    due = blobs.due()
    report.texts, report.text_bytes = len(due), sum(size for size, _ in due)
    if not dry_run:
        blobs.sweep()


def _over(folder: Path, retention: Retention, swept: int) -> int:
    """Bytes that the record takes beyond its bound, `swept` left out; negative where there is room.

    Without a bound 0.
    """
    if not retention.quota_bytes:
        return 0
    return measure(folder).total - swept - retention.quota_bytes


# --- the steps ------------------------------------------------------------------------------------


def _make_room(folder: Path) -> None:
    """On a disk that is nearly full give up the ballast; the next run makes it anew."""
    if free_bytes(folder) < _LITTLE:
        (folder / "ballast").unlink(missing_ok=True)


def _finish(folder: Path) -> None:
    """Do what an earlier attempt no longer came to, once it was told under a signature.

    A run that was held since stays.
    """
    told = read_dropped(read_digests(folder).leaves).segments
    manifest = readable_manifest(folder)
    finish_sealing(folder, manifest)
    listed, held = manifest.by_key(), held_marks(folder)
    gone = [
        file
        for key, file in sealed_segments(folder).items()
        if file.number in told.get(file.writer_id, {})
        and key not in listed
        and not is_held(file, held)
    ]
    _unlink(folder, gone)


def _drop(
    folder: Path,
    signer: Callable[[], Signer],
    retention: Retention,
    report: PruneReport,
    chosen: Sequence[tuple[SegmentFile, Sealed]],
    step: Step,
) -> None:
    already = read_dropped(read_digests(folder).leaves).segments
    new = [one for _, one in chosen if one.segment not in already.get(one.writer_id, {})]
    key = signer()
    for start in range(
        0, max(1, len(new)), _PER_DIGEST
    ):  # one at least: who told may not have signed
        told = [_told(one) for one in new[start : start + _PER_DIGEST]]
        pruned = {"before_day": report.before_day, "keep_days": retention.keep_days}
        digest = {"pruned": {**pruned, "segments": told}} if told else {}
        report.checkpoint = make_checkpoint(folder, key, digest).size
    step("signed")
    attrs = {
        "before_day": report.before_day,
        "keep_days": retention.keep_days,
        "segments": report.segments,
        "events": report.events,
        "checkpoint": report.checkpoint,
    }
    with AuditWriter(folder, options=BRIEF) as writer:
        writer.write([Event("audit.pruned", {"actor": own_name(), "status": "ok", "attrs": attrs})])
        writer.flush()
    step("recorded")
    _forget(folder, {one.key for _, one in chosen}, report.before_day, step)
    step("manifest")
    _unlink(folder, [file for file, _ in chosen])


def _told(one: Sealed) -> dict[str, object]:
    return {
        "writer_id": one.writer_id,
        "segment": one.segment,
        "day": one.day,
        "events": one.events,
        "first_seq": one.first_seq,
        "last_seq": one.last_seq,
        "previous_h": one.previous_h,
        "h": one.h,
    }


def _forget(folder: Path, gone: set[SegmentKey], before_day: str, step: Step) -> None:
    """Take segments out of the manifest and the tables."""
    manifest = readable_manifest(folder)
    touched = {one.table for one in manifest.segments if one.key in gone}
    # What says how an old table was made is as old as it, and may be among what goes.
    touched |= {table.path for table in manifest.tables if _day(table.made_ns) <= before_day}
    kept = [one for one in manifest.segments if one.key not in gone]
    apart = [replace(one, table="") if one.table in touched else one for one in kept]
    again = [new for new, old in zip(apart, kept, strict=True) if new.table != old.table]
    counts = pruned_events(folder, kept)
    tables = tuple(table for table in manifest.tables if table.path not in touched)
    writers = {one.writer_id for one in kept}
    left = {writer: count for writer, count in counts.items() if _is_left(folder, writer, writers)}
    fresh = Manifest(manifest.generation + 1, tables, tuple(apart), left)
    if again:
        fresh = take_in(folder, fresh, grouped(again), "pruned", (), step)
    else:
        write_manifest(folder, fresh)
    remove_strays(folder, fresh)


def _is_left(folder: Path, writer_id: str, sealed: set[str]) -> bool:
    """Whether anything of a writer is left."""
    return writer_id in sealed or any((folder / "hot").glob(f"{writer_id}.*.jsonl"))


def _day(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).date().isoformat()


def _unlink(folder: Path, files: Sequence[SegmentFile]) -> None:
    for place in sorted({file.path.parent for file in files}):
        for file in files:
            if file.path.parent == place:
                remove(file.path)
        sync_folder(place)
        with suppress(OSError):
            place.rmdir()  # only if that was all
    if files:
        sync_folder(folder / "sealed")

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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import time

import orjson
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event

from sashizu_audit.blobs import Blobs
from sashizu_audit.caching import remove_strays
from sashizu_audit.chain import verify_lines
from sashizu_audit.checkpoints import read_digests
from sashizu_audit.disk import free_bytes, sync_folder
from sashizu_audit.dropped import FLOOR_DAYS, read_dropped
from sashizu_audit.holds import keeping_holds, read_holds
from sashizu_audit.manifest import Manifest, Sealed, write_manifest
from sashizu_audit.notes import Signer
from sashizu_audit.packing import described
from sashizu_audit.seal_lock import own_name, readable_manifest, sealing_lock
from sashizu_audit.sealing import finish_sealing, grouped, take_in
from sashizu_audit.segments import SegmentFile, SegmentKey, sealed_segments
from sashizu_audit.signing import make_checkpoint
from sashizu_audit.spool import BRIEF
from sashizu_audit.usage import measure
from sashizu_audit.verify import record_id
from sashizu_audit.writer import AuditWriter

__all__ = ["PruneReport", "Retention", "prune_record", "pruned_events"]

Step = Callable[[str], None]
_PER_DIGEST = 2000
_WAIT_S = 5.0
"""Seconds that are waited for somebody who changes a hold."""

_LITTLE = 16 * 1024 * 1024
"""Free bytes below which the ballast is given up: to drop needs room for what is signed first."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long is kept, in days, and how many bytes the record may take; 0 sets no bound.

    Beyond the bound further days go, the oldest first, but none younger than the floor. `insist`
    is needed for a `keep_days` below that floor. Kept texts go after `text_days`, and never stay
    longer than events; `text_bytes` is the room that they may take.
    """

    keep_days: int
    quota_bytes: int = 0
    insist: bool = False
    text_days: int = 0
    text_bytes: int = 0


@dataclass(slots=True)
class PruneReport:
    """What was dropped, or would be.

    `held` counts segments that a held run keeps, `left` names those that stay because they are not
    what was written, or cannot be as old as they say. `over_bytes` is what the record takes beyond
    its bound after that. `before_day` is the first day that is kept. `texts` counts kept texts, of
    `text_bytes` in all.
    """

    before_day: str
    segments: int = 0
    events: int = 0
    bytes: int = 0
    days: list[str] = field(default_factory=list)
    held: int = 0
    over_bytes: int = 0
    checkpoint: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)
    texts: int = 0
    text_bytes: int = 0


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
                chosen = _choose(folder, retention, today, report, over)
                if chosen and not dry_run:
                    _drop(folder, signer, retention, report, chosen, step)
    except OSError as error:
        raise RecordError(
            f"the record in {str(folder)!r} cannot be pruned: {error.strerror or error}; nothing "
            "is half gone, try again when that is mended"
        ) from error
    return report


def pruned_events(folder: Path, kept: Iterable[Sealed]) -> Mapping[str, int]:
    """How many events were dropped of each writer, as signed digests tell.

    Raises:
        OSError: they cannot be read.
    """
    there = {one.key for one in kept}
    told = read_dropped(read_digests(folder).leaves).segments
    counts = {
        writer_id: sum(
            one.events for number, one in gone.items() if (writer_id, number) not in there
        )
        for writer_id, gone in told.items()
    }
    return {writer_id: count for writer_id, count in counts.items() if count}


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


def _choose(
    folder: Path, retention: Retention, today: date, report: PruneReport, over: int
) -> list[tuple[SegmentFile, Sealed]]:
    before = today - timedelta(days=retention.keep_days)
    floor = today - timedelta(days=min(FLOOR_DAYS, retention.keep_days))
    redacted = read_dropped(read_digests(folder).leaves).lines
    held = _marks(folder)
    report.before_day = before.isoformat()
    in_tables = _shares(readable_manifest(folder)) if over > 0 else {}
    chosen: list[tuple[SegmentFile, Sealed]] = []
    begun = "" if retention.insist else _begun(folder)
    files = sorted(sealed_segments(folder).values(), key=lambda file: (file.day, file.key))
    for file in files:
        day = date.fromisoformat(file.day)
        if day >= before and (day >= floor or (over <= 0 and file.day not in report.days)):
            break
        if day >= before:
            report.before_day = (day + timedelta(days=1)).isoformat()
        if file.day < begun:
            reason = f"{file.day} is before this record was begun: a clock was wrong (--i-know)"
            report.left.append((file.path.name, reason))
            continue
        found = _examined(file, held, redacted.get(file.writer_id, {}).values(), report)
        if found is None:
            continue
        chosen.append((file, found))
        over -= found.bytes + in_tables.get(file.key, 0)
        if file.day not in report.days:
            report.days.append(file.day)
        report.segments += 1
        report.events += found.events
        report.bytes += found.bytes
    report.over_bytes = max(0, over)
    return chosen


def _begun(folder: Path) -> str:
    """The day before the record was made, for clocks of several machines; empty if nobody knows.

    What seems to be older was written under a wrong clock, and may be of today.
    """
    try:
        made = int(orjson.loads((folder / "store.json").read_bytes())["created_ns"])
        return (datetime.fromtimestamp(made / 1e9, UTC).date() - timedelta(days=1)).isoformat()
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError, OSError):
        return ""


def _over(folder: Path, retention: Retention, swept: int) -> int:
    """Bytes that the record takes beyond its bound, `swept` left out; negative where there is room.

    Without a bound 0.
    """
    if not retention.quota_bytes:
        return 0
    return measure(folder).total - swept - retention.quota_bytes


def _shares(manifest: Manifest) -> Mapping[SegmentKey, int]:
    """About how many bytes of a table each segment takes."""
    per_row = {table.path: table.bytes / max(1, table.rows) for table in manifest.tables}
    return {one.key: int(one.events * per_row.get(one.table, 0)) for one in manifest.segments}


def _examined(
    file: SegmentFile, held: Sequence[bytes], redacted: Collection[str], report: PruneReport
) -> Sealed | None:
    """What a segment holds, if it may go."""
    name = file.path.name
    try:
        with file.open() as lines:
            checked = verify_lines(lines, redacted)
        if checked.damage:
            report.left.append((name, "it is not what was written; `sashizu audit verify` tells"))
            return None
        if _is_held(file, held):
            report.held += 1
            return None
        return described(file)
    except OSError as error:
        report.left.append((name, f"it cannot be read: {error}"))
        return None


def _marks(folder: Path) -> Sequence[bytes]:
    """What stands in each line of a run that is held."""
    return [f'"run_id":"{run}"'.encode() for run in read_holds(folder)]


def _is_held(file: SegmentFile, marks: Sequence[bytes]) -> bool:
    if not marks:
        return False
    with file.open() as lines:
        return any(mark in line for line in lines for mark in marks)


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
    listed, held = manifest.by_key(), _marks(folder)
    gone = [
        file
        for key, file in sealed_segments(folder).items()
        if file.number in told.get(file.writer_id, {})
        and key not in listed
        and not _is_held(file, held)
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
                file.path.unlink(missing_ok=True)
        sync_folder(place)
        with suppress(OSError):
            place.rmdir()  # only if that was all
    if files:
        sync_folder(folder / "sealed")

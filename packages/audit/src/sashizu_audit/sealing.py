"""Seals: packs the segments of writers that have ended, and makes them quick to ask.

One process at a time does it, and no writer waits for it. Each step can be broken off; the next
attempt goes on from what is there:

1. each segment is checked and packed into `sealed/`,
2. a Parquet file of them is written,
3. the record says so, with their digests,
4. the manifest names both; from here on queries read the Parquet file,
5. the hot files go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import time

from sashizu_core.errors import RecordError
from sashizu_core.events import Event

from sashizu_audit.caching import make_table, remove_strays, vouching
from sashizu_audit.disk import sync_folder
from sashizu_audit.manifest import Manifest, Sealed, write_manifest
from sashizu_audit.packing import NotSealable, Packed, pack, same_bytes
from sashizu_audit.seal_lock import own_name, readable_manifest, sealing_lock, unread
from sashizu_audit.segments import SegmentFile, hot_segments, sealed_segments
from sashizu_audit.spool import BRIEF
from sashizu_audit.verify import record_id
from sashizu_audit.writer import AuditWriter

__all__ = [
    "SealReport",
    "finish_sealing",
    "grouped",
    "seal_record",
    "take_in",
]

_BATCH_BYTES = 128 * 1024 * 1024
_BATCH_SEGMENTS = 1000
_MERGED_ROWS = 150_000
"""So many events at most does a merged table hold: they are sorted in memory."""

Step = Callable[[str], None]


def _go_on(_step: str) -> None:
    """What is called before each step, unless a test wants to be."""


@dataclass(slots=True)
class SealReport:
    """What was sealed now. `left` names hot segments that could not be, each with the reason.

    `raw_bytes` and `bytes` are before and after packing, `recovered` counts segments that their
    writers did not close, `open` those that are being written, `merged` tables that became one.
    """

    segments: int = 0
    events: int = 0
    raw_bytes: int = 0
    bytes: int = 0
    tables: int = 0
    recovered: int = 0
    open: int = 0
    merged: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)


def seal_record(
    folder: Path, *, today: str = "", step: Step = _go_on, batch: int = _BATCH_SEGMENTS
) -> SealReport | None:
    """Seal every segment whose writer has ended; None if another process is at it. Blocks.

    `today` is the day of which tables are not merged yet, as ISO text in UTC.

    Raises:
        UsageError: there is no record.
        RecordError: it cannot be sealed; nothing is lost, and the next attempt goes on.
    """
    record_id(folder)
    report = SealReport()
    try:
        with sealing_lock(folder) as mine:
            if not mine:
                return None
            manifest = readable_manifest(folder)
            with unread(folder) as quiet:
                if quiet:
                    remove_strays(folder, manifest)
                report.left += finish_sealing(folder, manifest, remove=quiet)
            for packed in _batches(folder, manifest, report, batch, step):
                manifest = _commit(folder, manifest, packed, report, step)
            _merge(folder, manifest, today or _today(), report, step)
    except OSError as error:
        raise RecordError(
            f"the record in {str(folder)!r} cannot be sealed: {error.strerror or error}; nothing "
            "is lost, try again when that is mended"
        ) from error
    return report


# --- the steps ------------------------------------------------------------------------------------


def finish_sealing(
    folder: Path, manifest: Manifest, *, remove: bool = True
) -> list[tuple[str, str]]:
    """Do what an earlier attempt no longer came to: remove hot files that are sealed.

    Call it with the lock of sealing. Returns those that are not what was sealed under their names.

    Raises:
        OSError: a file cannot be read or removed.
    """
    sealed, known = sealed_segments(folder), manifest.by_key()
    done, left = [], []
    for key, file in hot_segments(folder).items():
        if key in known and key in sealed:
            if same_bytes(file, sealed[key]):
                done.append(file.path)
            else:
                left.append((file.path.name, "it is not what is sealed under its name"))
    if remove:
        _remove_hot(folder, done)
    return left


def _batches(
    folder: Path, manifest: Manifest, report: SealReport, most: int, step: Step
) -> Iterator[list[Packed]]:
    known, sealed = manifest.by_key(), sealed_segments(folder)
    batch: list[Packed] = []
    for key, file in sorted(hot_segments(folder).items()):
        if key in known:
            continue
        packed = _pack(folder, file, sealed.get(key), report)
        if packed is None:
            continue
        step("packed")
        batch.append(packed)
        if len(batch) >= most or sum(one.raw_bytes for one in batch) >= _BATCH_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _pack(
    folder: Path, file: SegmentFile, sealed: SegmentFile | None, report: SealReport
) -> Packed | None:
    try:
        return pack(folder, file, sealed)
    except NotSealable as error:
        if str(error) == "it is being written":
            report.open += 1
        else:
            report.left.append((file.path.name, str(error)))
    return None


def _commit(
    folder: Path, manifest: Manifest, batch: Sequence[Packed], report: SealReport, step: Step
) -> Manifest:
    recovered = [
        Event("writer.recovered", {"actor": own_name(), "attrs": _recovered(packed)})
        for packed in batch
        if not packed.report.closed
    ]
    by_day: dict[str, list[Sealed]] = {}
    for packed in batch:
        by_day.setdefault(packed.sealed.day, []).append(packed.sealed)
    for day in by_day:
        sync_folder(folder / "sealed" / day)
    manifest = take_in(folder, manifest, list(by_day.values()), "sealed", recovered, step)
    with unread(folder) as quiet:
        if quiet:
            names = [f"{p.sealed.writer_id}.{p.sealed.segment}.jsonl" for p in batch]
            _remove_hot(folder, [folder / "hot" / name for name in names])
    report.segments += len(batch)
    report.events += sum(packed.report.events for packed in batch)
    report.raw_bytes += sum(packed.raw_bytes for packed in batch)
    report.bytes += sum(packed.sealed.bytes for packed in batch)
    report.tables += len(by_day)
    report.recovered += len(recovered)
    return manifest


def _recovered(packed: Packed) -> dict[str, object]:
    return {
        "writer_id": packed.sealed.writer_id,
        "segment": packed.sealed.segment,
        "seq": packed.sealed.last_seq,
        "h": packed.sealed.h,
        "torn_bytes": packed.report.torn_bytes,
    }


def take_in(
    folder: Path,
    manifest: Manifest,
    groups: Sequence[Sequence[Sealed]],
    reason: str,
    events: Sequence[Event] = (),
    step: Step = _go_on,
) -> Manifest:
    """Write a table of each group, record them after `events`, and name them in the manifest.

    Raises:
        RecordError, OSError: it cannot be done; the manifest before stands.
    """
    replaced = {one.key for group in groups for one in group}
    tables, segments, told = [], [], list(events)
    for group in groups:
        table, placed = make_table(folder, group)
        tables += [table] if table else []
        segments += placed
        told += vouching(own_name(), reason, table, placed)
    step("table")
    with AuditWriter(folder, options=BRIEF) as writer:
        for event in told:
            writer.write([event])
        writer.flush()
    step("recorded")
    kept = [one for one in manifest.segments if one.key not in replaced]
    segments = sorted([*kept, *segments], key=lambda one: one.key)
    used = {one.table for one in segments}
    tables = [table for table in (*manifest.tables, *tables) if table.path in used]
    manifest = Manifest(manifest.generation + 1, tuple(tables), tuple(segments), manifest.pruned)
    write_manifest(folder, manifest)
    step("manifest")
    return manifest


def _remove_hot(folder: Path, paths: Sequence[Path]) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            path.unlink()
    if paths:
        sync_folder(folder / "hot")


# --- merging --------------------------------------------------------------------------------------


def _merge(folder: Path, manifest: Manifest, today: str, report: SealReport, step: Step) -> None:
    """Make one table of several small ones, of days that are over."""
    before = manifest
    for group in _mergeable(manifest, today):
        paths = set(group)
        segments = [one for one in manifest.segments if one.table in paths]
        manifest = take_in(folder, manifest, [segments], "merged", (), step)
        report.merged += len(paths)
    if manifest is not before:
        with unread(folder) as quiet:
            if quiet:
                remove_strays(folder, manifest)


def _mergeable(manifest: Manifest, today: str) -> list[list[str]]:
    """Paths of tables that fit into one, by day."""
    groups: list[list[str]] = []
    rows = 0
    day = ""
    for table in sorted(manifest.tables, key=lambda table: table.path):
        its_day = table.path.split("/")[1]
        if its_day >= today:
            continue
        if its_day != day or rows + table.rows > _MERGED_ROWS or not groups:
            groups.append([])
            day, rows = its_day, 0
        groups[-1].append(table.path)
        rows += table.rows
    return [group for group in groups if len(group) > 1]


def grouped(segments: Sequence[Sealed]) -> list[list[Sealed]]:
    """Segments of one day that fit into one table together."""
    groups: list[list[Sealed]] = []
    for one in sorted(segments, key=lambda one: (one.day, one.key)):
        last = groups[-1] if groups else []
        rows = sum(other.events for other in last) + one.events
        if last and last[0].day == one.day and rows <= _MERGED_ROWS:
            last.append(one)
        else:
            groups.append([one])
    return groups


def _today() -> str:
    return datetime.fromtimestamp(time(), UTC).date().isoformat()

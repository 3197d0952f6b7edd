"""What of a record goes when it is pruned: segments that are old enough, whole, and not held."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson

from sashizu_audit.chain import verify_lines
from sashizu_audit.checkpoints import read_digests
from sashizu_audit.dropped import FLOOR_DAYS, read_dropped
from sashizu_audit.holds import read_holds
from sashizu_audit.manifest import Manifest, Sealed
from sashizu_audit.packing import described
from sashizu_audit.seal_lock import readable_manifest
from sashizu_audit.segments import SegmentFile, SegmentKey, sealed_segments

__all__ = ["PruneReport", "Retention", "choose", "held_marks", "is_held", "pruned_events"]


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


def choose(
    folder: Path, retention: Retention, today: date, report: PruneReport, over: int
) -> list[tuple[SegmentFile, Sealed]]:
    """The segments that go, each with what it holds; the report is told of them and of what stays.

    `over` is how many bytes the record takes beyond its bound.

    Raises:
        RecordError: the manifest cannot be understood.
        OSError: the record cannot be read.
    """
    before = today - timedelta(days=retention.keep_days)
    floor = today - timedelta(days=min(FLOOR_DAYS, retention.keep_days))
    redacted = read_dropped(read_digests(folder).leaves).lines
    held = held_marks(folder)
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
        if is_held(file, held):
            report.held += 1
            return None
        return described(file)
    except OSError as error:
        report.left.append((name, f"it cannot be read: {error}"))
        return None


def held_marks(folder: Path) -> Sequence[bytes]:
    """What stands in each line of a run that is held."""
    return [f'"run_id":"{run}"'.encode() for run in read_holds(folder)]


def is_held(file: SegmentFile, marks: Sequence[bytes]) -> bool:
    """Whether a segment has an event of a run that is held; `marks` are those of `held_marks`.

    Raises:
        OSError: it cannot be read.
    """
    if not marks:
        return False
    with file.open() as lines:
        return any(mark in line for line in lines for mark in marks)

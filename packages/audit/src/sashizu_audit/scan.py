"""Reads every segment of one writer, in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sashizu_audit.dropped import Pruned
from sashizu_audit.findings import WriterScan
from sashizu_audit.segment_walk import SegmentWalk, attrs_of
from sashizu_audit.segments import SegmentFile
from sashizu_audit.unpacking import Ahead

__all__ = ["opening_attrs", "scan_writer"]


def opening_attrs(file: SegmentFile) -> Mapping[str, Any]:
    """The attrs of the first line of a segment; empty if they cannot be read.

    Raises:
        FileNotFoundError: the file is gone.
    """
    try:
        with file.open() as lines:
            return attrs_of(lines.readline())
    except FileNotFoundError:
        raise
    except OSError:
        return {}  # which the scan will tell


def scan_writer(
    writer_id: str,
    files: Mapping[int, SegmentFile],
    gone: Mapping[int, Pruned],
    lines: Mapping[int, str],
    wanted: Collection[int],
    store_id: str,
) -> WriterScan:
    """Read the segments of a writer, by number; `wanted` are the events whose `h` is asked for.

    `gone` are segments that were dropped lawfully, `lines` the SHA-256 of lines that were redacted
    lawfully, by event.

    Raises:
        OSError: a file cannot be read.
    """
    scan = WriterScan(writer_id)
    numbers = sorted({*files, *gone})
    following = 0
    with Ahead([files[number] for number in numbers if number in files]) as ahead:
        for number in numbers:
            if number > following:
                _miss(scan, files, following, number)
            following = number + 1
            file = files.get(number)
            if file is not None:
                scan.segments += 1
                walk = SegmentWalk(scan, file, wanted, lines, store_id, files, ahead)
                walk.read(is_last=number == numbers[-1])
                if walk.unfinished:
                    break
            else:
                _pass_over(scan, gone[number], wanted)
            scan.ends[number] = scan.seq, scan.head
    return scan


def _miss(scan: WriterScan, files: Mapping[int, SegmentFile], first: int, end: int) -> None:
    """Say that segments are missing, from `first` up to, and without, `end`."""
    some = next(iter(files.values()), None)
    hot = some.folder / "hot" if some else Path("hot")
    what = "the file is" if end == first + 1 else f"it and {end - first - 1} more are"
    reason = f"{what} missing; a later one of its writer is there"
    scan.find("damage", hot / f"{scan.writer_id}.{first}.jsonl", 0, reason)


def _pass_over(scan: WriterScan, gone: Pruned, wanted: Collection[int]) -> None:
    """Go on behind a segment that was dropped."""
    name = Path(f"{scan.writer_id}.{gone.segment}.jsonl")
    if gone.previous_h != scan.head.decode() or gone.first_seq != scan.seq + 1:
        reason = (
            f"what was dropped began with event {gone.first_seq}; what is before ends elsewhere"
        )
        scan.find("damage", name, 0, reason)
    scan.seq, scan.head = gone.last_seq, gone.h.encode()
    scan.closed = True
    scan.pruned += 1
    if gone.last_seq in wanted:
        scan.seen[gone.last_seq] = scan.head

"""Makes tables and manifest anew from the sealed segments, which alone are the record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sashizu_core.errors import RecordError

from sashizu_audit.caching import remove_strays
from sashizu_audit.manifest import Manifest, Sealed, read_manifest, write_manifest
from sashizu_audit.packing import described
from sashizu_audit.retention import pruned_events
from sashizu_audit.seal_lock import sealing_lock
from sashizu_audit.sealing import grouped, take_in
from sashizu_audit.segments import sealed_segments
from sashizu_audit.verify import record_id

__all__ = ["Rebuilt", "rebuild_tables"]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made."""

    segments: int
    events: int
    tables: int


def rebuild_tables(folder: Path) -> Rebuilt:
    """Make every table of the record in `folder` anew. Queries meanwhile read the segments. Blocks.

    Raises:
        UsageError: there is no record.
        RecordError: another process is sealing, a segment cannot be read, or a table not be made.
    """
    record_id(folder)
    try:
        with sealing_lock(folder) as mine:
            if not mine:
                raise RecordError("another process is sealing this record; try again later")
            generation = read_manifest(folder).generation
            segments = [described(file) for _, file in sorted(sealed_segments(folder).items())]
            # From here on the old tables are read by nobody, and what is sealed is read as lines.
            manifest = Manifest(
                generation + 1, (), tuple(segments), pruned_events(folder, segments)
            )
            write_manifest(folder, manifest)
            for group in grouped(segments):
                manifest = take_in(folder, manifest, [group], "rebuilt")
            remove_strays(folder, manifest)
    except OSError as error:
        raise RecordError(f"the tables cannot be made: {error.strerror or error}") from error
    return Rebuilt(len(segments), _events(segments), len(manifest.tables))


def _events(segments: list[Sealed]) -> int:
    return sum(one.events for one in segments)

"""Whether the record may take more room: `quota_mib` of `[audit]`."""

from __future__ import annotations

from pathlib import Path

from sashizu_core.errors import RecordError

__all__ = ["share_of_quota"]

_MIB = 1024 * 1024


def share_of_quota(folder: Path, quota_mib: int, done: str = "nothing was done") -> float:
    """Which part of the room that the record may take it takes; 0 where there is no bound.

    `done` is what whoever is refused hears.

    Raises:
        RecordError: all of it: it takes nothing further.
    """
    if not quota_mib:
        return 0.0
    from sashizu_audit.usage import measure

    try:
        total = measure(folder).total
    except OSError:
        return 0.0  # not there yet, or whoever opens it tells
    if total >= quota_mib * _MIB:
        raise RecordError(
            f"the record in {str(folder)!r} takes {total // _MIB} MiB and may take "
            f"{quota_mib}, so {done}. Drop what is old with `sashizu audit prune`, or allow more "
            "with quota_mib in [audit]"
        )
    return total / (quota_mib * _MIB)

"""What a record holds, in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sashizu_audit.manifest import read_manifest
from sashizu_audit.segments import find_segments
from sashizu_audit.store import AuditStore
from sashizu_audit.usage import Usage, measure

__all__ = ["Statistics", "statistics_of"]

_COUNTS = """
SELECT count(*), count(DISTINCT writer_id), count(DISTINCT run_id),
       count(DISTINCT agent_id), CAST(min(ts) AS VARCHAR), CAST(max(ts) AS VARCHAR)
FROM events
"""
_BILLS = """
SELECT coalesce(sum(tokens) FILTER (declared_by IS NULL), 0),
       coalesce(round(sum(cost_usd) FILTER (declared_by IS NULL), 6), 0),
       coalesce(sum(tokens) FILTER (declared_by IS NOT NULL), 0)
FROM token_usage
"""
_KINDS = "SELECT kind, count(*) FROM events GROUP BY 1 ORDER BY 2 DESC, 1"


@dataclass(frozen=True, slots=True)
class Statistics:
    """Numbers of one record. Times are UTC; `kinds` counts events by kind.

    `tokens` and `usd` are what was seen; `declared_tokens` are what other programs told, which may
    be the same once more.
    """

    store_id: str
    events: int
    writers: int
    runs: int
    agents: int
    first: str | None
    last: str | None
    tokens: int
    usd: float
    declared_tokens: int
    segments_hot: int
    segments_sealed: int
    tables: int
    pruned_events: int
    bytes: Usage
    kinds: dict[str, int]


def statistics_of(folder: Path) -> Statistics:
    """Count what the record in a folder holds. Blocks.

    Raises:
        UsageError: there is no record.
        SashizuError: it cannot be read.
    """
    from sashizu_audit.checkpoints import read_digests
    from sashizu_audit.dropped import read_dropped
    from sashizu_audit.verify import record_id

    store_id = record_id(folder)
    store = AuditStore(folder)
    ((events, writers, runs, agents, first, last),) = store.query(_COUNTS).rows
    ((tokens, usd, declared),) = store.query(_BILLS).rows
    kinds = {str(kind): int(count) for kind, count in store.query(_KINDS).rows}
    files = find_segments(folder)
    prunings = read_dropped(read_digests(folder).leaves).prunings
    return Statistics(
        store_id,
        int(events),
        int(writers),
        int(runs),
        int(agents),
        first,
        last,
        int(tokens),
        float(usd),
        int(declared),
        sum(not file.sealed for file in files),
        sum(file.sealed for file in files),
        len(read_manifest(folder).tables),
        sum(told.events for told in prunings),
        measure(folder),
        kinds,
    )

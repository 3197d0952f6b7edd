"""Asks the record for another package, and records that it was asked."""

from __future__ import annotations

import getpass
from hashlib import sha256
from pathlib import Path

from sashizu_core.events import Event
from sashizu_core.specs import RecordRows

from sashizu_audit.store import AuditStore
from sashizu_audit.writer import AuditWriter

__all__ = ["asked", "record_query"]


def asked(folder: Path, sql: str, *, limit: int, timeout_s: float) -> RecordRows:
    """Run one query over the views; it is on record before its rows are returned. Blocks.

    Raises:
        UsageError: it is no query over our views, or took too long.
        RecordError: that it was asked cannot be recorded.
    """
    rows = AuditStore(folder).query(sql, limit=limit, timeout_s=timeout_s)
    record_query(folder, sql, len(rows.rows))
    return RecordRows(rows.columns, rows.rows, rows.truncated)


def record_query(folder: Path, sql: str, count: int) -> None:
    """Record who asked what; where there is no record yet, nothing is begun.

    Raises:
        RecordError: it cannot be written.
    """
    if not (folder / "store.json").exists():
        return
    fields = {
        "actor": f"user:{getpass.getuser()}",
        "status": "ok",
        "args_sha256": sha256(sql.encode("utf-8", "surrogatepass")).hexdigest(),
        "attrs": {"rows": count},
    }
    with AuditWriter(folder) as writer:
        writer.write([Event("audit.queried", fields)])
        writer.flush()

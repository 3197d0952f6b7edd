"""Asks the record for another package, and records that it was asked."""

from __future__ import annotations

import atexit
import getpass
import threading
from hashlib import sha256
from pathlib import Path

from sashizu_core.events import Event
from sashizu_core.specs import RecordRows

from sashizu_audit.jailed_store import JailedStore
from sashizu_audit.rows import Rows
from sashizu_audit.spool import BRIEF
from sashizu_audit.writer import AuditWriter

__all__ = ["asked", "record_query"]


def asked(folder: Path, sql: str, *, limit: int, timeout_s: float) -> RecordRows:
    """Run one query over the views; it is on record before its rows are returned. Blocks.

    Raises:
        UsageError: it is no query over our views, or took too long.
        RecordError: that it was asked cannot be recorded.
    """
    rows = _KEPT.query(folder, sql, limit=limit, timeout_s=timeout_s)
    record_query(folder, sql, len(rows.rows))
    return RecordRows(rows.columns, rows.rows, rows.truncated)


class _Kept:
    """Keeps one process for the next question; who asks meanwhile gets one of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._store: JailedStore | None = None

    def query(self, folder: Path, sql: str, *, limit: int, timeout_s: float) -> Rows:
        if not self._lock.acquire(blocking=False):
            with JailedStore(folder) as alone:
                return alone.query(sql, limit=limit, timeout_s=timeout_s)
        try:
            if self._store is None or self._folder != folder:
                self._end()
                self._folder, self._store = folder, JailedStore(folder)
            return self._store.query(sql, limit=limit, timeout_s=timeout_s)
        finally:
            self._lock.release()

    def end(self) -> None:
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._store is not None:
            self._store.close()
        self._store = None


_KEPT = _Kept()
atexit.register(_KEPT.end)


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
    with AuditWriter(folder, options=BRIEF) as writer:
        writer.write([Event("audit.queried", fields)])
        writer.flush()

"""The record of agents at work here: the outbox keeps it, and whoever goes on reads it back."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from sashizu_core.errors import UsageError
from sashizu_core.protocols import EventSink
from sashizu_core.recorded import RecordedRun
from sashizu_core.specs import SinkSpec

from sashizu_cluster.database import Database
from sashizu_cluster.outbox import Outbox

__all__ = ["at_work", "journal_sink"]

at_work: ContextVar[str] = ContextVar("sashizu_cluster_work")
"""The key of the work that this task is at: what it records is of that."""


def journal_sink(database: Database, host: str) -> SinkSpec:
    """What keeps the record of works; the collector of `host` brings it into that host's log."""

    @asynccontextmanager
    async def open_() -> AsyncGenerator[EventSink]:
        yield Outbox(database, host, at_work.get())

    return SinkSpec(
        "outbox",
        "the database of the cluster",
        open_,
        recorded=lambda key: _recorded(database, key),
    )


def _recorded(database: Database, key: str) -> RecordedRun:
    """What is on record of a work; blocks.

    Raises:
        UsageError: nothing is.
    """
    rows = database.rows("SELECT * FROM sashizu.journal_of(%s)", (key,))
    if not rows:
        raise UsageError(f"there is nothing of {key!r} in the database of the cluster")
    events: list[dict[str, Any]] = []
    texts: dict[str, str] = {}
    heads: dict[str, tuple[int, str]] = {}
    for writer, seq, kind, fields, named in rows:
        events.append({"kind": kind, "writer_id": str(writer), "seq": seq, **json.loads(fields)})
        heads[str(writer)] = (int(seq), "")
        if named:
            texts |= json.loads(named)
    return RecordedRun(key, events, texts.get, heads, alive=True)

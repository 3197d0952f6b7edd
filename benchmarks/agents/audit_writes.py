"""Writes events to the record and to a SQLite table in WAL mode; prints what each took."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio
from sashizu_audit import AuditWriter
from sashizu_core.events import Event
from sashizu_core.ids import new_agent_id, new_run_id

COUNT = 5_000
FIELDS = {
    "run_id": str(new_run_id()),
    "agent_id": str(new_agent_id()),
    "agent_name": "code-reviewer",
    "project": "shop",
    "actor": "user:me",
    "op": "chat",
    "provider": "openai",
    "model": "openai/gpt-5",
    "input_tokens": 1234,
    "output_tokens": 56,
    "budget_spent": 1290,
    "budget_limit": 60000,
    "duration_ns": 123456789,
    "status": "ok",
}


def per_event(write: Callable[[], object], count: int) -> float:
    """Microseconds of one write."""
    for _ in range(count // 10):
        write()
    begun = time.perf_counter()
    for _ in range(count):
        write()
    return 1e6 * (time.perf_counter() - begun) / count


async def durable(writer: AuditWriter, events: list[Event], count: int) -> float:
    """Microseconds of one write that waits for the disk."""
    begun = time.perf_counter()
    for _ in range(count):
        writer.write(events)
        await writer.durable()
    return 1e6 * (time.perf_counter() - begun) / count


def sqlite(folder: Path) -> Callable[[], object]:
    store = sqlite3.connect(folder / "events.sqlite", isolation_level=None)
    store.execute("pragma journal_mode = wal")
    store.execute("pragma synchronous = normal")
    names = ", ".join(FIELDS)
    store.execute(f"create table events (id integer primary key, kind, {names})")
    insert = f"insert into events (kind, {names}) values (?{', ?' * len(FIELDS)})"
    values = ("model.answered", *FIELDS.values())
    return lambda: store.execute(insert, values)


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
    try:
        writer = AuditWriter(folder / "audit")
        one = [Event("model.answered", FIELDS)]
        found = {
            "record, one event": per_event(lambda: writer.write(one), COUNT),
            "record, 64 at once": per_event(lambda: writer.write(one * 64), COUNT // 64) / 64,
            "record, waits for the disk": anyio.run(durable, writer, one, 100),
            "SQLite WAL, one row": per_event(sqlite(folder), COUNT),
        }
        writer.close()
    finally:
        shutil.rmtree(folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main()

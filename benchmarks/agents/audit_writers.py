"""Writes events for a while, to the record or to SQLite; prints microseconds of one, and how many.

    python audit_writers.py record|row|line|key FOLDER START SECONDS
    python audit_writers.py read-record|read-row|read-line|read-key FOLDER START SECONDS

Begins at START (Unix seconds), so that several work at once. An event has 24 columns and about 900
bytes as JSON. In SQLite, `row` has those and kind and time; `line` all that a line of the record
has but for its hash: an id, a second clock, the writer, its number; with `key` the id is unique,
too. Who reads counts the events by kind, every 50 ms.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import orjson
from audit_writes import FIELDS
from sashizu_audit import AuditStore, AuditWriter
from sashizu_core.errors import SashizuError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

MOST = 2_000_000
EVENT = {
    **FIELDS,
    "conversation_id": uuid7(),
    "parent_agent_id": uuid7(),
    "depth": 2,
    "step": 7,
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "span_id": "b7ad6b7169203331",
    "model_used": "openai/gpt-5-2026-08-07",
    "response_id": "resp_0af7651916cd43dd8448eb211c80319c",
    "cost_nusd": 2_345_678,
    "attrs": {"rule": "fs.read: src/**", "pad": "x" * 120},
}
KIND = "model.answered"
READ = "SELECT kind, count(*), sum(input_tokens) FROM {} GROUP BY kind"
_ADDED = ("event_id", "mono_ns", "writer_id", "seq")
TABLES = {
    "row": ("kind", "ts_ns", *EVENT),
    "line": ("kind", "ts_ns", *_ADDED, *EVENT),
    "key": ("kind", "ts_ns", *_ADDED, *EVENT),
}


def of_sqlite(folder: Path, table: str) -> Callable[[], object]:
    store = opened(folder)
    store.execute("pragma synchronous = normal")
    columns = TABLES[table]
    insert = f"insert into {table} ({', '.join(columns)}) values (?{', ?' * (len(columns) - 1)})"
    begun, writer, tail = time.monotonic_ns(), uuid7(), uuid7()[18:]
    numbers = itertools.count()

    def write_row() -> object:
        fields = dict(EVENT)
        fields["attrs"] = orjson.dumps(fields["attrs"]).decode()
        return store.execute(insert, [KIND, time.time_ns(), *fields.values()])

    def write_line() -> object:
        fields = dict(EVENT)
        fields["attrs"] = orjson.dumps(fields["attrs"]).decode()
        now, number = time.time_ns(), next(numbers)
        ms = now // 1_000_000
        event_id = f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7{number & 0xFFF:03x}{tail}"
        added = (KIND, now, event_id, time.monotonic_ns() - begun, writer, number)
        return store.execute(insert, [*added, *fields.values()])

    return write_row if table == "row" else write_line


def opened(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "events.sqlite", isolation_level=None, timeout=60)


def of_record(folder: Path) -> Callable[[], object]:
    writer = AuditWriter(folder / "audit")
    return lambda: writer.write([Event(KIND, dict(EVENT))])


def prepare(folder: Path) -> None:
    """Make the tables that all write into."""
    store = opened(folder)
    store.execute("pragma journal_mode = wal")
    for table, columns in TABLES.items():
        names = ", ".join(columns)
        if table == "key":
            names = names.replace("event_id", "event_id primary key")
        store.execute(f"create table {table} ({names})")
    store.close()


def read(kind: str, folder: Path, end: float) -> None:
    """Ask until the end; a record that is not there yet has nothing to say."""
    store = AuditStore(folder / "audit")
    database = opened(folder)
    while time.time() < end:
        table = kind.removeprefix("read-")
        if table in TABLES:
            database.execute(READ.format(table)).fetchall()
        else:
            with suppress(SashizuError):
                store.query(READ.format("events"))
        time.sleep(0.05)


def main() -> None:
    kind, folder, start, seconds = sys.argv[1], Path(sys.argv[2]), *map(float, sys.argv[3:])
    if kind.startswith("read-"):
        read(kind, folder, start + seconds)
        return
    write = of_record(folder) if kind == "record" else of_sqlite(folder, kind)
    for _ in range(50):
        write()
    time.sleep(max(0.0, start - time.time()))
    took: list[int] = []
    clock = time.perf_counter_ns
    end = clock() + int(seconds * 1e9)
    now = clock()
    while now < end and len(took) < MOST:
        begun = clock()
        write()
        now = clock()
        took.append(now - begun)
    took.sort()
    found = {
        "n": len(took),
        "p50": took[len(took) // 2] / 1000,
        "p99": took[-len(took) // 100] / 1000,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

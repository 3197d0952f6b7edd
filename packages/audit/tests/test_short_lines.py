"""Small segments, which a query reads at once, tell what they tell one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from sashizu_audit import AuditStore, AuditWriter, short_lines
from sashizu_audit.sealing import seal_record
from sashizu_audit.spool import WriterOptions
from sashizu_core.events import Event
from sashizu_core.ids import new_run_id

SMALL = WriterOptions(ballast_bytes=0)
ALL = "SELECT * FROM events ORDER BY writer_id, seq"
EVENTS = (
    Event("tool.requested", {"tool": "ひと \u2028", "attrs": {"n": [1, {"x": None}], "f": 0.5}}),
    Event("model.answered", {"tokens": 2**62, "blobs": ["a" * 64, "b" * 64], "depth": 3}),
    Event("run.started", {"run_id": new_run_id()}),
)
TAILS = (
    b"",
    b'{"v":1,"event_id":"01',
    b"\0" * 5_000,
    b'{"v":1}\n',
    b"[1]\nnull\n7\n\n",
    b'{"h":"' + b"\xff" * 4,
)


def write(folder: Path, *events: Event) -> Path:
    with AuditWriter(folder, options=SMALL) as writer:
        writer.write(events)
        return writer.path


def read_one_by_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
    with monkeypatch.context() as patch:
        patch.setattr(short_lines, "_FEWEST", 1_000)
        rows = AuditStore(folder).query(ALL)
    return rows.columns, rows.types, rows.rows


def test_small_segments_tell_the_same_whatever_a_crash_left_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "audit"
    for tail in TAILS:
        with write(folder, *EVENTS).open("ab") as file:
            file.write(tail)
    rows = AuditStore(folder).query(ALL)
    assert (rows.columns, rows.types, rows.rows) == read_one_by_one(folder, monkeypatch)
    assert len(rows.rows) == (len(EVENTS) + 2) * len(TAILS)


def test_long_and_packed_segments_are_read_beside_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "audit"
    write(folder, *EVENTS)
    seal_record(folder)
    (table,) = folder.glob("parquet/*/*.parquet")
    table.unlink()  # then what was sealed is read as lines
    write(folder, *[Event("tool.requested", {"attrs": {"pad": "x" * 9_000}})] * 20)
    for event in EVENTS:
        write(folder, event)
    rows = AuditStore(folder).query(ALL)
    assert (rows.columns, rows.types, rows.rows) == read_one_by_one(folder, monkeypatch)
    assert len(rows.rows) == 5 + 22 + 9 + 3  # the last ones are who sealed

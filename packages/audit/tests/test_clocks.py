"""Clocks that jump, days that end, and machines that disagree: order and durations stay."""

from __future__ import annotations

import json
from pathlib import Path

import orjson
import pytest
from sashizu_audit import AuditStore, AuditWriter, sealing, verify_record
from sashizu_audit.manifest import read_manifest
from sashizu_audit.sealing import seal_record
from sashizu_audit.segments import hot_segments
from sashizu_audit.spool import WriterOptions
from sashizu_audit.writer_lines import Clock
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

SMALL = WriterOptions(ballast_bytes=0)
SECOND, HOUR = 10**9, 3600 * 10**9
NOON = 1_795_176_000 * SECOND  # 2026-11-20, 12:00 UTC
RUN, LEAD = uuid7(), uuid7()


class Clocks:
    """A wall clock that can be set, and a monotonic one that cannot; both start at noon."""

    def __init__(self, wall_ns: int = NOON) -> None:
        self.wall_ns = wall_ns
        self.monotonic_ns = 5 * SECOND

    def pass_by(self, ns: int) -> None:
        self.wall_ns += ns
        self.monotonic_ns += ns

    def clock(self) -> Clock:
        return Clock(lambda: self.wall_ns, lambda: self.monotonic_ns)


def event(kind: str, **fields: object) -> list[Event]:
    return [Event(kind, {"run_id": RUN, "agent_id": LEAD, "agent_name": "lead", **fields})]


@pytest.mark.parametrize("jump", [-HOUR, 24 * HOUR])
def test_a_clock_that_is_set_changes_neither_order_nor_durations(tmp_path: Path, jump: int) -> None:
    clocks = Clocks()
    with AuditWriter(tmp_path, options=SMALL, clock=clocks.clock()) as writer:
        for step, passed in enumerate((2 * SECOND, 3 * SECOND)):
            writer.write(event("tool.requested", step=step, tool=f"t{step}"))
            clocks.pass_by(passed)
            if step == 0:
                clocks.wall_ns += jump
            writer.write(event("tool.ended", step=step, tool=f"t{step}", duration_ns=passed))
    store = AuditStore(tmp_path)
    kinds = [row[0] for row in store.query("SELECT kind FROM events ORDER BY writer_id, seq").rows]
    assert kinds == [
        *("writer.opened", "tool.requested", "writer.clock_stepped", "tool.ended"),
        *("tool.requested", "tool.ended", "writer.closed"),
    ]
    since = store.query("SELECT mono_ns FROM events ORDER BY seq").rows
    assert [row[0] for row in since] == [0, 0, *[2 * SECOND] * 3, *[5 * SECOND] * 2]
    calls = store.query("SELECT tool, duration_ms, outcome FROM tool_calls ORDER BY step").rows
    assert [(tool, float(ms)) for tool, ms, _ in calls] == [("t0", 2000.0), ("t1", 3000.0)]
    (stepped,) = store.query("SELECT attrs FROM events WHERE kind = 'writer.clock_stepped'").rows
    assert json.loads(stepped[0])["step_ns"] == jump
    assert verify_record(tmp_path).exit_code == 0


def test_what_a_clock_says_decides_the_day_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    clocks = Clocks()
    for jump in (0, 24 * HOUR, -48 * HOUR):
        clocks.wall_ns += jump
        with AuditWriter(tmp_path, options=SMALL, clock=clocks.clock()) as writer:
            writer.write(event("tool.requested", step=0, tool="t"))
    seal_record(tmp_path)
    days = sorted({table.path.split("/")[1] for table in read_manifest(tmp_path).tables})
    assert days[:3] == ["2026-11-19", "2026-11-20", "2026-11-21"]
    counts = AuditStore(tmp_path).query(
        "SELECT CAST(ts AS DATE), count(*) FROM events WHERE tool = 't' GROUP BY 1 ORDER BY 1"
    )
    assert [(str(day), count) for day, count in counts.rows] == [(day, 1) for day in days[:3]]


def test_a_day_that_ends_while_it_is_sealed_is_sealed_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(NOON + 12 * HOUR - 2 * SECOND)
    for number in range(4):  # the second and the third lie on both sides of midnight
        with AuditWriter(tmp_path, options=SMALL, clock=clocks.clock()) as writer:
            writer.write(event("tool.requested", step=0, tool=f"a{number}"))
            clocks.pass_by(SECOND)
            writer.write(event("tool.requested", step=1, tool=f"b{number}"))
    today = ["2026-11-20"]
    monkeypatch.setattr(sealing, "_today", lambda: today[0])

    def midnight(step: str) -> None:
        if step == "table":
            today[0] = "2026-11-21"

    report = seal_record(tmp_path, step=midnight)
    assert report is not None
    assert report.left == []
    found = AuditStore(tmp_path).query("SELECT tool FROM events WHERE tool IS NOT NULL").rows
    assert sorted(row[0] for row in found) == [f"{one}{n}" for one in "ab" for n in range(4)]
    seal_record(tmp_path)
    again = AuditStore(tmp_path).query("SELECT tool FROM events WHERE tool IS NOT NULL").rows
    assert sorted(again) == sorted(found)
    assert verify_record(tmp_path).exit_code == 0


def test_two_machines_whose_clocks_disagree_are_asked_as_one(tmp_path: Path) -> None:
    for name, skew in (("a", 0), ("b", -300 * SECOND)):
        clocks = Clocks(NOON + skew)
        with AuditWriter(tmp_path / name, options=SMALL, clock=clocks.clock()) as writer:
            for step in range(3):
                writer.write(event("tool.requested", step=step, tool=f"{name}{step}"))
                clocks.pass_by(SECOND)
                writer.write(event("tool.ended", step=step, tool=f"{name}{step}", status="ok"))
    store = AuditStore(tmp_path / "a", tmp_path / "b")
    in_order = "SELECT tool FROM events WHERE kind = 'tool.requested' ORDER BY writer_id, seq"
    assert [row[0] for row in store.query(in_order).rows] == ["a0", "a1", "a2", "b0", "b1", "b2"]
    by_time = "SELECT tool FROM events WHERE kind = 'tool.requested' ORDER BY ts, seq"
    assert [row[0] for row in store.query(by_time).rows] == ["b0", "b1", "b2", "a0", "a1", "a2"]
    assert store.query("FROM seq_gaps WHERE missing <> 0").rows == ()


def test_a_clock_before_the_epoch_of_ids_still_numbers_events(tmp_path: Path) -> None:
    clocks = Clocks(0)
    with AuditWriter(tmp_path, options=SMALL, clock=clocks.clock()) as writer:
        writer.write(event("tool.requested", step=0, tool="t"))
    (file,) = hot_segments(tmp_path).values()
    ids = [orjson.loads(line)["event_id"] for line in file.path.read_bytes().splitlines()]
    assert len(set(ids)) == 3
    assert verify_record(tmp_path).exit_code == 0

"""Copies for other programs: every table, one run or all, and nothing where it failed."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
from sashizu_audit import AuditStore, AuditWriter, rendering
from sashizu_audit.cli import app
from sashizu_audit.export import export_record
from sashizu_audit.snapshot import OF_WHOLE_RECORD
from sashizu_audit.spool import WriterOptions
from sashizu_audit.store import VIEWS
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7
from typer.testing import CliRunner

RUNS = [uuid7(), uuid7()]
AGENTS = [uuid7(), uuid7()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("record") / "audit"
    with AuditWriter(place, options=WriterOptions(ballast_bytes=0)) as writer:
        for run_id, agent_id in zip(RUNS, AGENTS, strict=True):
            writer.write(list(_events(run_id, agent_id)))
    return place


def _events(run_id: str, agent_id: str) -> Iterator[Event]:
    who = {"run_id": run_id, "agent_id": agent_id, "agent_name": 'a,"b\n=1+1'}
    usage = {"input_tokens": 7, "output_tokens": 2, "tokens": 9, "cost_nusd": 5}
    yield Event("run.started", {"run_id": run_id, "attrs": {"agents": ["a"]}})
    yield Event("agent.started", {**who, "model": "m"})
    yield Event("model.requested", {**who, "step": 0, "model": "m"})
    yield Event("model.answered", {**who, "step": 0, "status": "ok", "blobs": ["ab"], **usage})
    yield Event("agent.ended", {**who, "status": "ok", "attrs": {"tokens": 9}})
    yield Event("run.ended", {"run_id": run_id, "status": "ok"})


def test_lines_are_events_in_the_order_of_time(folder: Path, tmp_path: Path) -> None:
    manifest = export_record(folder, tmp_path / "copy", "jsonl")
    lines = (tmp_path / "copy" / "events.jsonl").read_text("utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    assert len(events) == manifest["events"] == len(AuditStore(folder).query("FROM events").rows)
    assert [event["ts_ns"] for event in events] == sorted(event["ts_ns"] for event in events)
    (started,) = [e for e in events if e["kind"] == "run.started" and e["run_id"] == RUNS[0]]
    assert started["attrs"] == {"agents": ["a"]}


def test_of_one_run_nothing_of_another_is_copied(folder: Path, tmp_path: Path) -> None:
    manifest = export_record(folder, tmp_path / "copy", "jsonl", run_id=RUNS[0])
    assert (manifest["events"], manifest["run_id"]) == (6, RUNS[0])
    text = (tmp_path / "copy" / "events.jsonl").read_text("utf-8")
    assert RUNS[0] in text
    assert RUNS[1] not in text


def test_cells_with_commas_quotes_and_newlines_come_back(folder: Path, tmp_path: Path) -> None:
    export_record(folder, tmp_path / "copy", "csv")
    names = {path.stem for path in (tmp_path / "copy").glob("*.csv")}
    assert names == set(VIEWS)
    with (tmp_path / "copy" / "model_calls.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["agent_name"] for row in rows] == ['a,"b\n=1+1'] * 2
    assert [row["tokens"] for row in rows] == ["9", "9"]


def test_a_database_of_sqlite_holds_what_the_views_say(folder: Path, tmp_path: Path) -> None:
    export_record(folder, tmp_path / "copy", "sqlite")
    with closing(sqlite3.connect(tmp_path / "copy" / "record.sqlite")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        tables = {
            row[0] for row in database.execute("SELECT name FROM sqlite_schema WHERE type='table'")
        }
        usage = database.execute(
            "SELECT run_id, sum(tokens) FROM token_usage GROUP BY 1"
        ).fetchall()
        kept = database.execute("SELECT DISTINCT blobs FROM events WHERE blobs IS NOT NULL")
        assert kept.fetchall() == [('["ab"]',)]
        closed = database.execute("SELECT DISTINCT typeof(closed), typeof(opened) FROM writers")
        assert closed.fetchall() == [("integer", "text")]
    assert tables == set(VIEWS)
    assert dict(usage) == dict.fromkeys(RUNS, 9)


def test_whole_numbers_that_sqlite_cannot_hold_are_text(tmp_path: Path) -> None:
    with duckdb.connect(":memory:") as connection:
        connection.execute(
            "CREATE TABLE events AS SELECT 18446744073709551615::UBIGINT AS seq,"
            " 1::BIGINT AS ts_ns, 'w' AS writer_id, 'k' AS kind, 'r' AS run_id, 'a' AS agent_id"
        )
        rendering.write_sqlite(connection, tmp_path)
    with closing(sqlite3.connect(tmp_path / "record.sqlite")) as database:
        (seq,) = database.execute("SELECT seq FROM events").fetchone()
    assert seq == "18446744073709551615"


def test_a_snapshot_has_the_views_under_any_name(folder: Path, tmp_path: Path) -> None:
    export_record(folder, tmp_path / "copy", "duckdb")
    renamed = (tmp_path / "copy" / "record.duckdb").rename(tmp_path / "other.duckdb")
    with duckdb.connect(str(renamed), read_only=True) as connection:
        for view in VIEWS:
            connection.execute(f"SELECT count(*) FROM {view}").fetchall()
        spent = connection.execute("SELECT sum(tokens) FROM token_usage").fetchone()
        stored = connection.execute(
            "SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal"
        ).fetchone()
    assert spent == (18,)
    assert stored is not None
    assert "v1.5" in str(stored[0])


def test_a_snapshot_of_one_run_has_no_views_that_would_be_wrong(
    folder: Path, tmp_path: Path
) -> None:
    export_record(folder, tmp_path / "copy", "duckdb", run_id=RUNS[1])
    path = tmp_path / "copy" / "record.duckdb"
    with duckdb.connect(str(path), read_only=True) as connection:
        found = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal")
        views = {row[0] for row in found.fetchall()}
        runs = connection.execute("SELECT CAST(run_id AS VARCHAR) FROM runs").fetchall()
    assert views == set(VIEWS) - {"events", *OF_WHOLE_RECORD}
    assert runs == [(RUNS[1],)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), sqlite3.OperationalError("disk full")])
def test_what_fails_or_is_interrupted_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(rows: object) -> Iterator[list[object]]:
        raise error
        yield []

    monkeypatch.setattr(rendering, "_fitting", fail)
    with pytest.raises((KeyboardInterrupt, RecordError)):
        export_record(folder, tmp_path / "copy", "sqlite")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fmt", ["copy", "parquet"])
def test_a_form_of_the_whole_record_takes_no_run(folder: Path, tmp_path: Path, fmt: str) -> None:
    with pytest.raises(UsageError, match="one run comes as jsonl"):
        export_record(folder, tmp_path / "copy", fmt, run_id=RUNS[0])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_one_run_is_copied_by_command(folder: Path, tmp_path: Path) -> None:
    words = ["export", str(tmp_path / "copy"), "--format", "jsonl", "--run", RUNS[0]]
    made = CliRunner().invoke(app, [*words, "--store", str(folder)])
    assert made.stdout == f"6 events in 1 file: {tmp_path / 'copy'}\n"

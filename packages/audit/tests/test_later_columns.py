"""Tables that were made before a column came to be are read as if it had been empty."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
from sashizu_audit.manifest import read_manifest, write_manifest
from sashizu_audit.sealing import seal_record
from sashizu_audit.store import AuditStore
from sashizu_audit.writer import AuditWriter
from sashizu_core.events import Event
from sashizu_core.ids import new_run_id


def test_a_table_without_a_later_column_is_read(tmp_path: Path) -> None:
    run_id, record = new_run_id(), tmp_path / "record"
    with AuditWriter(record) as writer:
        writer.write([Event("run.started", {"run_id": run_id, "attrs": {"agents": []}})])
    seal_record(record)
    (table,) = record.glob("parquet/*/*.parquet")
    older = tmp_path / "older.parquet"
    duckdb.execute(f"COPY (SELECT * EXCLUDE (replay_of) FROM read_parquet('{table}')) TO '{older}'")
    table.chmod(0o600)
    table.write_bytes(older.read_bytes())
    manifest = read_manifest(record)
    assert [bool(one.columns) for one in manifest.tables] == [True]
    tables = tuple(replace(one, columns="") for one in manifest.tables)
    write_manifest(record, replace(manifest, tables=tables))
    with AuditWriter(record) as writer:
        writer.write([Event("run.ended", {"run_id": run_id, "replay_of": run_id})])
    rows = AuditStore(record).query(
        "SELECT kind, CAST(replay_of AS VARCHAR) AS run FROM events "
        "WHERE starts_with(kind, 'run.') ORDER BY ts"
    )
    assert rows.rows == (("run.started", None), ("run.ended", run_id))

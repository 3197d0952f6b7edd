"""Hostile SQL: refused or harmless, and every byte of the record and around it stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from sashizu_audit import AuditStore, AuditWriter
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.events import Event

RUN = "01900000-0000-7000-8000-000000000001"

HOSTILE = [
    "COPY events TO '{file}'",
    "COPY (SELECT 1) TO '{file}' (FORMAT parquet)",
    "WITH x AS (COPY (SELECT 1 a) TO '{file}' (FORMAT csv, USE_TMP_FILE false)) SELECT * FROM x",
    "WITH x AS (COPY (SELECT 1 a) TO '{segment}' (FORMAT csv, USE_TMP_FILE false)) SELECT * FROM x",
    "SELECT * FROM (WITH x AS (COPY (SELECT 1) TO '{file}') SELECT * FROM x)",
    "SELECT (WITH x AS (COPY (SELECT 1) TO '{file}') SELECT 1)",
    "INSERT INTO events VALUES (1)",
    "WITH x AS (INSERT INTO events VALUES (1) RETURNING *) SELECT * FROM x",
    "UPDATE events SET kind = 'x'",
    "DELETE FROM events",
    "MERGE INTO events USING runs ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE events",
    "CREATE TABLE t (a INT)",
    "CREATE OR REPLACE VIEW events AS SELECT 1",
    "CREATE MACRO m() AS 1",
    "CREATE SECRET s (TYPE s3)",
    "CREATE TYPE t AS ENUM ('a')",
    "DROP VIEW events",
    "ALTER VIEW events RENAME TO e",
    "ATTACH '{file}' AS other",
    "DETACH memory",
    "USE memory",
    "EXPORT DATABASE '{file}'",
    "IMPORT DATABASE '{file}'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL httpfs",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET allowed_paths",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL pragma_version()",
    "CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE COPY events TO '{file}'",
    "EXPLAIN SELECT 1",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY events TO '{file}'",
    "SELECT 1 /* ; */ ; DROP VIEW events -- ",
    "SELECT * FROM '{secret}'",
    'SELECT * FROM "{secret}"',
    "FROM '{segment}'",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_csv_auto('{secret}')",
    "SELECT * FROM read_json('{segment}')",
    "SELECT * FROM read_parquet('{secret}')",
    "SELECT * FROM parquet_metadata('{secret}')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM READ_TEXT('{secret}')",
    "SELECT * FROM \"read_text\"('{secret}')",
    "SELECT * FROM main.read_text('{secret}')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query('COPY events TO ''{file}''')",
    "SELECT * FROM query_table('events')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_views()",
    "SELECT * FROM pragma_database_list()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM (WITH duckdb_views AS (SELECT 1) SELECT 1), duckdb_views",
    "SELECT * FROM (WITH sqlite_master AS (SELECT 1) SELECT 1), sqlite_master",
    "SELECT * FROM pg_catalog.pg_class",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM memory.main.events",
    "SELECT current_setting('allowed_paths')",
    "SELECT getenv('HOME')",
    "SELECT getvariable('x')",
    "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "SELECT write_log('x')",
    "SELECT nextval('s')",
    "SELECT * FROM x, LATERAL (SELECT * FROM read_text('{secret}'))",
    "SELECT * FROM events WHERE EXISTS (SELECT 1 FROM read_text('{secret}'))",
    "SELECT (SELECT content FROM read_text('{secret}'))",
    "SELECT [x FOR x IN (SELECT content FROM read_text('{secret}'))]",
    "SELECT * FROM events AT (VERSION => 1)",
    "FROM events UNION ALL FROM read_text('{secret}')",
    "WITH events AS (SELECT * FROM read_text('{secret}')) SELECT * FROM events",
    "",
    "   ",
    "-- nothing",
    "not sql at all",
    "SELECT",
    "\0",
    "SELECT '\0'; DROP VIEW events",
]

GOOD = [
    "SELECT count(*) FROM events",
    "FROM runs",
    "DESCRIBE events",
    "SHOW TABLES",
    "SUMMARIZE token_usage",
    "TABLE agent_tree",
    "VALUES (1), (2)",
    "WITH r AS (SELECT run_id FROM runs) SELECT * FROM r JOIN events USING (run_id)",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT * FROM t",
    "SELECT kind FROM events QUALIFY row_number() OVER (PARTITION BY kind) = 1",
    "SELECT list_transform([1, 2], lambda x: x + 1), CASE WHEN true THEN 1 END, 1 BETWEEN 0 AND 2",
    "SELECT attrs->>'a', json_extract_string(attrs, '$.a') FROM events",
    "SELECT * FROM unnest([1, 2]), range(3), generate_series(1, 2)",
    "SELECT e.kind FROM main.events e EXCEPT SELECT 'x' ORDER BY 1 LIMIT 5",
    "SELECT max(n) FROM (SELECT sum(1) OVER (ORDER BY started) AS n FROM agent_executions)",
    "SELECT * EXCLUDE (attrs) FROM events WHERE kind LIKE 'run.%' AND run_id IS NOT NULL",
    "SELECT CAST(1 AS VARCHAR), 1::DOUBLE, INTERVAL '1 minute', DATE '2026-01-01'",
]


@pytest.fixture
def store(tmp_path: Path) -> AuditStore:
    (tmp_path / "secret.csv").write_text("key\nhunter2\n", "utf-8")
    with AuditWriter(tmp_path / "audit") as writer:
        writer.write([Event("run.started", {"run_id": RUN, "attrs": {"a": 1}})])
    return AuditStore(tmp_path / "audit")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("sql", HOSTILE)
def test_hostile_sql_is_refused_and_changes_no_byte(
    store: AuditStore, tmp_path: Path, sql: str
) -> None:
    (segment,) = (tmp_path / "audit" / "hot").iterdir()
    before = everything(tmp_path)
    text = sql.format(file=tmp_path / "out", secret=tmp_path / "secret.csv", segment=segment)
    with pytest.raises(SashizuError) as caught:
        store.query(text)
    assert isinstance(caught.value, UsageError)
    assert "hunter2" not in str(caught.value)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("sql", GOOD)
def test_ordinary_questions_are_answered(store: AuditStore, sql: str) -> None:
    store.query(sql)


def test_the_second_layer_holds_without_the_first(
    store: AuditStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a hole in the first layer would let through still reaches no other file."""
    monkeypatch.setattr("sashizu_audit.store.check_query", lambda *_: None)
    for sql in (
        f"SELECT * FROM read_text('{tmp_path / 'secret.csv'}')",
        f"COPY (SELECT 1) TO '{tmp_path / 'out'}'",
        f"ATTACH '{tmp_path / 'other.db'}'",
        "SET enable_external_access = true",
        "SELECT * FROM glob('/etc/*')",
    ):
        with pytest.raises(UsageError):
            store.query(sql)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "other.db").exists()


def test_an_endless_query_is_stopped(store: AuditStore) -> None:
    with pytest.raises(UsageError, match=r"stopped after 0\.2 s"):
        store.query("SELECT count(*) FROM range(100000000) a, range(100000000) b", timeout_s=0.2)


def test_rows_beyond_the_limit_are_cut_and_said_so(store: AuditStore) -> None:
    rows = store.query("SELECT * FROM range(100)", limit=3)
    assert len(rows.rows) == 3
    assert rows.truncated
    assert not store.query("SELECT * FROM range(3)", limit=3).truncated

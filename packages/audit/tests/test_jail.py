"""Hostile SQL: refused or harmless, and every byte of the record and around it stays.

Each statement meets all layers together, the jail without Landlock, and Landlock alone.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_audit import AuditStore, AuditWriter, JailedStore, jailed_store
from sashizu_audit.cli import app
from sashizu_audit.confining import landlock_version, unsupported
from sashizu_audit.jail_wire import decode_cell, dump, encode_cell, load
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.events import Event
from typer.testing import CliRunner

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


# --- the third layer ------------------------------------------------------------------------------

needs_landlock = pytest.mark.skipif(landlock_version() == 0, reason=unsupported() or "none")

WITHOUT_LANDLOCK = """
from sashizu_audit import confining, jail_child
confining.landlock_version = lambda: 0
jail_child.main()
"""
LANDLOCK_ALONE = """
import json, os, sys
from pathlib import Path
import duckdb
from sashizu_audit.confining import confine, stand_alone
from sashizu_audit.store import prepare

prepare()
stand_alone()
for sql in json.load(sys.stdin):
    child = os.fork()  # DuckDB may abort where it can not read
    if child:
        os.waitpid(child, 0)
        continue
    confine([Path(sys.argv[1])])
    try:
        print(duckdb.connect(":memory:").execute(sql).fetchall(), flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
    os._exit(0)
"""
REACHING_OUT = """
import os, socket, subprocess, sys
from pathlib import Path
from sashizu_audit.confining import confine, stand_alone

confine([Path(sys.argv[1])])
def attempt(name, act):
    try:
        act()
    except OSError as error:
        print(name, "refused", error.errno)
    else:
        print(name, "WORKED")
attempt("program", lambda: os.posix_spawn("/bin/true", ["true"], {}))
attempt("other", lambda: os.execv("/bin/true", ["true"]))
attempt("network", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt("local", lambda: socket.socket(socket.AF_UNIX))
attempt("secret", lambda: open(sys.argv[2]).read())
attempt("write", lambda: open(sys.argv[1] + "/new", "w"))
attempt("folder", lambda: os.mkdir(sys.argv[1] + "/new"))
attempt("remove", lambda: os.unlink(sys.argv[1] + "/store.json"))
attempt("rename", lambda: os.rename(sys.argv[1] + "/store.json", sys.argv[1] + "/s"))
attempt("change", lambda: os.open(sys.argv[1] + "/store.json", os.O_RDWR))
attempt("cut", lambda: os.truncate(sys.argv[1] + "/store.json", 0))
print("read", len(open(sys.argv[1] + "/store.json").read()) > 10)
"""


class Place:
    """A record, a secret beside it, and a jailed process that asks the record."""

    def __init__(self, root: Path) -> None:
        self.root, self.record = root, root / "audit"
        (root / "secret.csv").write_text("key\nhunter2\n", "utf-8")
        with AuditWriter(self.record) as writer:
            writer.write([Event("run.started", {"run_id": RUN, "attrs": {"a": 1}})])
        self.store = JailedStore(self.record)

    def text(self, sql: str) -> str:
        (segment,) = (self.record / "hot").iterdir()
        secret = self.root / "secret.csv"
        return sql.format(file=self.root / "out", secret=secret, segment=segment)


@pytest.fixture(scope="module")
def jailed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    place = Place(tmp_path_factory.mktemp("jailed"))
    with place.store:
        yield place


@pytest.fixture(scope="module")
def half_jailed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jailed_store, "COMMAND", (sys.executable, "-P", "-c", WITHOUT_LANDLOCK))
        place = Place(tmp_path_factory.mktemp("half"))
        place.store.query("SELECT 1")
    with place.store:
        yield place


@pytest.mark.parametrize("sql", HOSTILE)
@pytest.mark.parametrize("kind", ["jailed", "half_jailed"])
def test_hostile_sql_is_refused_in_the_jail_with_and_without_landlock(
    kind: str, sql: str, request: pytest.FixtureRequest
) -> None:
    place: Place = request.getfixturevalue(kind)
    before = everything(place.root)
    with pytest.raises(UsageError) as caught:
        place.store.query(place.text(sql))
    assert "hunter2" not in str(caught.value)
    assert everything(place.root) == before


@needs_landlock
def test_landlock_alone_lets_no_hostile_sql_change_or_see_anything(tmp_path: Path) -> None:
    place = Place(tmp_path)
    before = everything(tmp_path)
    statements = [place.text(sql) for sql in HOSTILE]
    done = subprocess.run(
        [sys.executable, "-P", "-c", LANDLOCK_ALONE, str(place.record)],
        input=json.dumps(statements),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    lines = done.stdout
    assert "hunter2" not in lines
    assert "Permission denied" in lines
    assert lines.count("Error") + lines.count("Exception") > len(HOSTILE) // 2
    assert everything(tmp_path) == before


@needs_landlock
def test_a_process_in_the_jail_reads_the_record_and_can_do_nothing_else(tmp_path: Path) -> None:
    place = Place(tmp_path)
    before = everything(tmp_path)
    secret = str(tmp_path / "secret.csv")
    done = subprocess.run(
        [sys.executable, "-P", "-c", REACHING_OUT, str(place.record), secret],
        capture_output=True,
        text=True,
        check=True,
    )
    *attempts, read = done.stdout.splitlines()
    assert len(attempts) == 11
    assert all(" refused " in line for line in attempts), attempts
    assert read == "read True"
    assert everything(tmp_path) == before


@pytest.mark.parametrize("sql", GOOD)
def test_the_jail_answers_what_is_answered_outside(jailed: Place, sql: str) -> None:
    inside, outside = jailed.store.query(sql), AuditStore(jailed.record).query(sql)
    assert (inside.columns, inside.types) == (outside.columns, outside.types)
    assert sorted(map(repr, inside.rows)) == sorted(map(repr, outside.rows))
    assert jailed.store.held == unsupported()


def test_parameters_limits_and_time_hold_in_the_jail(jailed: Place) -> None:
    assert jailed.store.query("SELECT ? + 1", [41]).rows == ((42,),)
    assert jailed.store.query("SELECT $a || 'b'", {"a": "x"}).rows == (("xb",),)
    cut = jailed.store.query("SELECT * FROM range(100)", limit=3)
    assert (len(cut.rows), cut.truncated) == (3, True)
    with pytest.raises(UsageError, match=r"stopped after 0\.2 s"):
        jailed.store.query(
            "SELECT count(*) FROM range(100000000) a, range(100000000)", timeout_s=0.2
        )
    with pytest.raises(UsageError, match="TIMESTAMP"):
        jailed.store.query("SELECT now()")
    assert jailed.store.columns() == AuditStore(jailed.record).columns()


def test_events_that_come_later_and_records_that_begin_later_are_seen(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    with JailedStore(folder) as store:
        assert store.query("SELECT count(*) FROM runs").rows == ((0,),)
        for number in (1, 2):
            with AuditWriter(folder) as writer:
                writer.write([Event("run.started", {"run_id": RUN})])
            assert store.query("SELECT count(*) FROM runs").rows == ((number,),)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.exit('no room\\x1b[31m')", "without an answer: no room"),
        ("print('[1]')", "an answer that is none"),
        ('print(\'{"held": ""}\\n{"rows": [[["os.system", "x"]]]}\', flush=True); input()', "none"),
        ('print(\'{"held": ""}\\n{\' + \'"a":\' * 9, flush=True); input()', "none"),
    ],
)
def test_a_broken_jail_is_an_error_and_never_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, said: str
) -> None:
    monkeypatch.setattr(jailed_store, "COMMAND", (sys.executable, "-P", "-c", program))
    with JailedStore(tmp_path) as store, pytest.raises(SashizuError, match=said) as caught:
        store.query("SELECT 1")
    assert "\x1b" not in str(caught.value)


def test_a_jail_that_was_killed_is_made_anew(tmp_path: Path) -> None:
    with JailedStore(tmp_path) as store:
        store.query("SELECT 1")
        process = store._process
        assert process is not None
        os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()
        assert store.query("SELECT 2").rows == ((2,),)


CELLS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.timedeltas(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(CELLS)
def test_what_goes_through_the_wall_comes_out_as_it_was(value: object) -> None:
    assert decode_cell(load(dump({"v": encode_cell(value)}))["v"]) == value


def test_numbers_that_are_none_go_through_the_wall_and_unknown_things_as_text() -> None:
    found = decode_cell(load(dump({"v": encode_cell(math.nan)}))["v"])
    assert isinstance(found, float)
    assert math.isnan(found)
    assert encode_cell(complex(1, 2)) == "(1+2j)"
    kinds = (UUID(RUN), Decimal("1.50"), date(2026, 1, 2), time(3), timedelta(4))
    assert all(type(decode_cell(encode_cell(one))) is type(one) for one in kinds)
    assert type(decode_cell(encode_cell(datetime(2026, 1, 2, tzinfo=UTC)))) is datetime


def test_the_doctor_says_what_holds_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    place = Place(tmp_path)

    def told() -> str:
        shown = CliRunner().invoke(app, ["doctor", "--store", str(place.record)]).stdout
        return next(line for line in shown.splitlines() if " jail " in line)

    if not unsupported():
        assert told().startswith("ok")
        assert "Landlock, version" in told()
    monkeypatch.setattr(jailed_store, "COMMAND", (sys.executable, "-P", "-c", WITHOUT_LANDLOCK))
    assert told().startswith("notice")
    assert "unsupported: " in told()

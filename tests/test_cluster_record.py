"""What the workers of several hosts did is in the hosts' records, each event exactly once."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from sashizu_audit.asking import asked
from sashizu_audit.cli import app
from sashizu_audit.spool import WriterOptions
from sashizu_audit.store import AuditStore
from sashizu_audit.verify import verify_record
from sashizu_audit.writer import AuditWriter
from sashizu_cluster.collecting import Collector
from sashizu_cluster.database import Database
from sashizu_cluster.outbox import Outbox
from sashizu_cluster.schema import set_up
from sashizu_core.errors import RecordError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7
from typer.testing import CliRunner

pytestmark = pytest.mark.postgres


class Host:
    """A machine of the cluster: an outbox, a record, and who moves events from one to the other."""

    def __init__(self, database: Database, name: str, folder: Path) -> None:
        self.database = database
        self.name = name
        self.folder = folder
        self.outbox = Outbox(database, name, f"worker on {name}")
        self.writer = AuditWriter(folder, options=WriterOptions(content="blobs"))

    def collector(self, **more) -> Collector:
        def question(sql, limit, timeout_s):
            return asked(self.folder, sql, limit=limit, timeout_s=timeout_s)

        return Collector(self.database, self.name, self.writer, question, **more)

    async def collect_all(self) -> int:
        collector, moved = self.collector(), 0
        while more := await collector.collect():
            moved += more
        return moved

    def steps(self) -> list[int]:
        rows = AuditStore(self.folder).query(
            "SELECT step FROM events WHERE kind = 'tool.requested' ORDER BY step", limit=100_000
        )
        return [step for (step,) in rows.rows]


@pytest.fixture
def database(postgres):
    name = postgres.create_database()
    set_up(postgres.dsn(name))
    database = Database(postgres.dsn(name))
    yield database
    database.close()
    postgres.drop_database(name)


@pytest.fixture
def host(database, tmp_path):
    host = Host(database, "alpha", tmp_path / "alpha")
    yield host
    host.writer.close()


def event(step: int, **fields) -> Event:
    return Event("tool.requested", {"step": step, "tool": "t", **fields})


async def test_events_reach_the_record_of_the_host(host):
    host.outbox.write([event(0), event(1)])
    host.outbox.write([event(2)])
    assert await host.collect_all() == 3
    assert await host.collect_all() == 0
    assert host.steps() == [0, 1, 2]
    assert not verify_record(host.folder).findings


async def test_events_of_a_step_are_there_if_the_step_is(host, dsn_of):
    with psycopg.connect(dsn_of(host.database)) as other:
        with host.outbox.within(other):
            host.outbox.write([event(1)])
            other.rollback()
        with host.outbox.within(other):
            host.outbox.write([event(2)])
            host.outbox.write([event(3)])
            assert await host.collect_all() == 0
            other.commit()
    assert await host.collect_all() == 2
    assert host.steps() == [2, 3]


@pytest.fixture
def dsn_of():
    return lambda database: database.dsn


async def test_steps_at_the_same_time_do_not_wait_for_each_other(host, dsn_of):
    dsn = dsn_of(host.database)
    with psycopg.connect(dsn) as one, psycopg.connect(dsn) as other, host.outbox.within(one):
        host.outbox.write([event(1)])
        with host.outbox.within(other):
            host.outbox.write([event(2)])
            other.commit()
        assert await host.collect_all() == 1
        one.commit()
    assert await host.collect_all() == 1
    assert host.steps() == [1, 2]


async def test_a_batch_whose_end_was_not_noted_is_not_written_again(host):
    host.outbox.write([event(step) for step in range(10)])
    first = host.collector(most=4)
    assert await first.collect() == 4
    real = host.database.rows

    def fails(query, values=(), **more):
        if "outbox_moved" in query:
            raise RecordError("the process died here")
        return real(query, values, **more)

    host.database.rows = fails
    with pytest.raises(RecordError):
        await first.collect()
    host.database.rows = real
    assert await host.collect_all() == 6
    assert host.steps() == list(range(10))


async def test_who_was_taken_over_writes_nothing_more(host):
    first = host.collector()
    host.outbox.write([event(0)])
    assert await first.collect() == 1
    host.outbox.write([event(1)])
    assert await host.collect_all() == 1
    host.outbox.write([event(2)])
    with pytest.raises(Exception, match="taken over host alpha"):
        await first.collect()
    assert host.steps() == [0, 1]


async def test_an_event_that_is_missing_is_waited_for_and_told(host, dsn_of):
    host.outbox.write([event(step) for step in range(4)])
    with psycopg.connect(dsn_of(host.database)) as db:
        gone = db.execute("DELETE FROM sashizu.outbox_event WHERE seq = 2 RETURNING *").fetchone()
    assert await host.collect_all() == 1
    (gap,) = await host.collector().gaps()
    assert gap.missing == 2
    with psycopg.connect(dsn_of(host.database)) as db:
        db.execute("INSERT INTO sashizu.outbox_event VALUES (%s, %s, %s, %s, %s, %s)", gone)
    assert await host.collect_all() == 3
    assert host.steps() == [0, 1, 2, 3]


async def test_the_number_of_an_event_survives_however_long_the_event_is(host):
    attrs = {f"name {i}": "x" * 5000 for i in range(40)} | {"outbox": "forged"}
    host.outbox.write([event(7, attrs=attrs)])
    real = host.writer.durable

    async def dies() -> None:
        raise RecordError("the process died here")

    host.writer.durable = dies
    with pytest.raises(RecordError):
        await host.collector().collect()
    host.writer.durable = real
    assert await host.collect_all() == 1
    assert host.steps() == [7]


async def test_texts_travel_with_the_event_that_names_them(host):
    digest = host.outbox.keep("what the tool said \x00 \udc80 日本")
    host.outbox.write([event(0, result_sha256=digest)])
    await host.collect_all()
    from sashizu_audit.blobs import blob_path

    kept = blob_path(host.folder, digest).read_bytes()
    assert kept.decode("utf-8", "surrogatepass") == "what the tool said \x00 \udc80 日本"


async def test_a_clock_that_jumps_back_changes_no_order(host, dsn_of):
    host.outbox.write([event(step) for step in range(6)])
    with psycopg.connect(dsn_of(host.database)) as db:
        db.execute(
            "UPDATE sashizu.outbox_event SET at = at - interval '1 hour' WHERE seq IN (3, 4)"
        )
    collector = host.collector(most=2)
    while await collector.collect():
        pass
    rows = AuditStore(host.folder).query(
        "SELECT step FROM events WHERE kind = 'tool.requested' ORDER BY seq"
    )
    assert [step for (step,) in rows.rows] == list(range(6))


async def test_several_hosts_make_one_record(database, tmp_path):
    """A run and its agent on one host, the agent that this one started on another."""
    alpha, beta = (Host(database, name, tmp_path / name) for name in ("alpha", "beta"))
    run_id, above, below = uuid7(), uuid7(), uuid7()
    parent = {"run_id": run_id, "agent_id": above, "agent_name": "above"}
    child = {"run_id": run_id, "agent_id": below, "agent_name": "below", "parent_agent_id": above}
    alpha.outbox.write([Event("run.started", {"run_id": run_id}), Event("agent.started", parent)])
    beta.outbox.write([Event("agent.started", child)])
    beta.outbox.write([Event("agent.ended", child | {"status": "ok", "tokens": 5})])
    alpha.outbox.write([Event("agent.ended", parent | {"status": "ok"})])
    alpha.outbox.write([Event("run.ended", {"run_id": run_id, "status": "ok"})])
    for host in (alpha, beta):
        assert await host.collect_all()
        host.writer.close()
    stores = [word for host in (alpha, beta) for word in ("--store", str(host.folder))]
    tree = CliRunner().invoke(app, ["tree", run_id, *stores])
    first, second = (line for line in tree.stdout.splitlines() if ": ok" in line)
    assert first.startswith("above: ok")
    assert second.startswith("└─ below: ok")
    verified = CliRunner().invoke(app, ["verify", *stores])
    assert (verified.exit_code, "2 of 2 records are intact" in verified.stdout) == (0, True)
    asked_for = "SELECT count(DISTINCT writer_id) AS n FROM events WHERE run_id IS NOT NULL"
    found = CliRunner().invoke(app, ["sql", asked_for, "--format", "json", *stores])
    assert json.loads(found.stdout) == [{"n": 2}]

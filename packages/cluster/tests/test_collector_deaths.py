"""Wherever a collector dies, each event is in the record exactly once."""

from __future__ import annotations

from collections import Counter

import psycopg
import pytest
from sashizu_cluster.cli import app
from sashizu_cluster.collecting import Collector, collecting, only_collector
from sashizu_cluster.database import Database
from sashizu_cluster.errors import DatabaseGone
from sashizu_cluster.outbox import Outbox
from sashizu_cluster.schema import set_up
from sashizu_core.errors import UsageError
from sashizu_core.events import Event
from sashizu_core.specs import RecordRows
from typer.testing import CliRunner

pytestmark = pytest.mark.postgres


class Died(Exception):
    """The process ended here."""


class Log:
    """A record in memory that outlives its collectors; `torn` is how much of a write is kept."""

    persistent = True

    def __init__(self) -> None:
        self.events: list[Event] = []

    def asked(self, sql: str, limit: int, timeout_s: float) -> RecordRows:
        found: dict[str, int] = {}
        for event in self.events:
            number = event.fields["attrs"]["outbox"]
            assert number["seq"] > found.get(number["writer"], 0), "an event came twice"
            found[number["writer"]] = number["seq"]
        return RecordRows(("writer", "seq"), tuple(found.items()))

    def steps(self) -> Counter[object]:
        return Counter(event.fields["step"] for event in self.events)


class Mortal:
    """Counts what a collector does, and dies at one thing: before it, after it, or half done."""

    def __init__(self, log: Log, database: Database, at: int, how: str) -> None:
        self.log, self.database, self.at, self.how = log, database, at, how
        self.done = 0
        self.persistent = True

    def _mortal(self, act, half=lambda: None):
        self.done += 1
        if self.done != self.at:
            return act()
        if self.how == "after":
            act()
        elif self.how == "half":
            half()
        elif self.how == "gone":
            raise DatabaseGone("the connection broke")
        raise Died

    def rows(self, query, values=(), **more):
        return self._mortal(lambda: self.database.rows(query, values, **more))

    def row(self, query, values=(), **more):
        return self.rows(query, values, **more)[0]

    def write(self, events):
        half = len(events) // 2
        self._mortal(
            lambda: self.log.events.extend(events), lambda: self.log.events.extend(events[:half])
        )

    async def durable(self):
        self._mortal(lambda: None)

    def child_handoff(self):
        return {}


@pytest.fixture(scope="module")
def database(postgres):
    dsn = postgres.dsn(postgres.create_database())
    set_up(dsn)
    database = Database(dsn)
    yield database
    database.close()


async def collect_until_death(mortal: Mortal, host: str) -> bool:
    """Whether it lived until nothing was left."""
    collector = Collector(mortal, host, mortal, mortal.log.asked, most=4)
    try:
        while await collector.collect():
            pass
    except Died:
        return False
    return True


@pytest.mark.parametrize("how", ["before", "after", "half"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_collector_may_die_at_each_thing_it_does(database, how):
    at, lived = 0, False
    while not lived:
        at += 1
        host = f"{how}-{at}"
        log = Log()
        outboxes = [Outbox(database, host, f"worker {i}") for i in range(2)]
        for step in range(10):
            outboxes[step % 2].write([Event("tool.requested", {"step": step})])
        lived = await collect_until_death(Mortal(log, database, at, how), host)
        # Who comes after it may die at the same place.
        await collect_until_death(Mortal(log, database, at, how), host)
        outboxes[0].write([Event("tool.requested", {"step": 10})])
        assert await collect_until_death(Mortal(log, database, 0, how), host)
        assert log.steps() == Counter(range(11)), f"dead at {at}"
    assert at > 12


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_database_from_a_backup_repeats_nothing(database):
    log, outbox = Log(), Outbox(database, "restored", "worker")
    outbox.write([Event("tool.requested", {"step": step}) for step in range(6)])
    with psycopg.connect(database.dsn) as db:
        backup = db.execute(
            "SELECT * FROM sashizu.outbox_event WHERE writer = %s", (outbox._own,)
        ).fetchall()
        mortal = Mortal(log, database, 0, "before")
        collector = Collector(mortal, "restored", mortal, log.asked, most=4)
        while await collector.collect():
            pass
        restored = "INSERT INTO sashizu.outbox_event VALUES (%s, %s, %s, %s, %s, %s)"
        db.cursor().executemany(restored, backup)
        db.execute("UPDATE sashizu.outbox_writer SET moved = 0 WHERE id = %s", (outbox._own,))
        db.commit()
    gone = Mortal(log, database, 1, "gone")
    collector.database = gone
    with pytest.raises(DatabaseGone):
        await collector.collect()
    outbox.write([Event("tool.requested", {"step": 6})])
    while await collector.collect():
        pass
    assert log.steps() == Counter(range(7))


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_events_that_nobody_collects_are_told(database, monkeypatch):
    host = "lonely"
    Outbox(database, host, "worker").write([Event("tool.requested", {"step": 1})] * 3)
    (before,) = [each for each in collecting(database) if each.host == host]
    assert (before.waiting, before.collected, before.seen_s, before.stuck) == (3, 0, None, True)
    monkeypatch.setenv("SASHIZU_CLUSTER", database.dsn)
    shown = CliRunner().invoke(app, ["status"])
    assert "3 events of host lonely wait for a worker there" in shown.stdout
    assert await collect_until_death(Mortal(Log(), database, 0, "before"), host)
    (after,) = [each for each in collecting(database) if each.host == host]
    assert (after.waiting, after.collected, after.stuck) == (0, 3, False)
    assert "lonely" not in CliRunner().invoke(app, ["status"]).stdout


def test_there_is_one_collector_of_a_host(tmp_path):
    again = only_collector(tmp_path, "alpha")
    with (
        only_collector(tmp_path, "alpha"),
        only_collector(tmp_path, "beta"),
        pytest.raises(UsageError, match="another process collects"),
    ):
        again.__enter__()
    with only_collector(tmp_path, "alpha"):
        pass

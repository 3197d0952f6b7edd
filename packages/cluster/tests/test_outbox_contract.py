"""The outbox promises what every sink does."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
import pytest
from sashizu_cluster.database import Database
from sashizu_cluster.outbox import Outbox
from sashizu_cluster.schema import set_up
from sashizu_core.events import Event
from sashizu_core.specs import SinkSpec
from sashizu_core.testing import SinkContract

pytestmark = pytest.mark.postgres

PROGRAM = """
from contextlib import asynccontextmanager
from sashizu_cluster.database import Database
from sashizu_cluster.outbox import Outbox
from sashizu_core.specs import SinkSpec

@asynccontextmanager
async def opened():
    yield Outbox(Database({dsn!r}), "alpha", "worker")

spec = SinkSpec("outbox", "the outbox", opened)
"""


class TestOutbox(SinkContract):
    @pytest.fixture
    def made(self, dsn: str) -> str:
        set_up(dsn)
        return dsn

    @pytest.fixture
    def spec(self, made: str) -> SinkSpec:
        @asynccontextmanager
        async def opened():
            database = Database(made)
            try:
                yield Outbox(database, "alpha", "worker")
            finally:
                database.close()

        return SinkSpec("outbox", "the outbox", opened)

    @pytest.fixture
    def read_back(self, made: str):
        def read() -> list[Event]:
            with psycopg.connect(made) as db:
                rows = db.execute(
                    "SELECT e.kind, e.fields FROM sashizu.outbox_event e "
                    "JOIN sashizu.outbox_writer w ON w.id = e.writer ORDER BY w.opened_at, e.seq"
                ).fetchall()
            return [Event(kind, json.loads(fields)) for kind, fields in rows]

        return read

    @pytest.fixture
    def program(self, made: str) -> str:
        return PROGRAM.format(dsn=made)


def test_writers_have_numbers_of_their_own(dsn):
    set_up(dsn)
    database = Database(dsn)
    for name in ("one", "two"):
        outbox = Outbox(database, "alpha", name)
        outbox.write([Event("tool.requested", {"step": 1}), Event("tool.ended", {"step": 1})])
    rows = database.rows(
        "SELECT writer, array_agg(seq ORDER BY seq) FROM sashizu.outbox_event GROUP BY 1"
    )
    assert [numbers for _, numbers in rows] == [[1, 2], [1, 2]]
    assert all(isinstance(writer, UUID) for writer, _ in rows)
    database.close()

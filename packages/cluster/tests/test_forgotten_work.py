"""What is forgotten of work leaves nothing behind, and takes nothing with it that is in use."""

from collections.abc import Iterator
from functools import partial
from time import time
from uuid import uuid4

import anyio
import pytest
from sashizu_cluster.board import LARGEST, WorkBoard
from sashizu_cluster.cluster_executor import cluster_executor
from sashizu_cluster.database import Database
from sashizu_cluster.engine import EngineClient, set_up_engine
from sashizu_cluster.outbox import Outbox
from sashizu_cluster.schema import set_up
from sashizu_cluster.spending import SharedSpend
from sashizu_core.errors import UsageError
from sashizu_core.events import Event
from sashizu_core.executors import Work, WorkStatus
from sashizu_core.ids import uuid7
from sashizu_core.testing.executor_operations import CONTRACT_OPERATIONS
from sashizu_core.types import Limits

pytestmark = pytest.mark.postgres

_TABLES = ("work", "work_event", "work_blob", "journal_event", "outbox_writer")


@pytest.fixture
def database(dsn: str) -> Iterator[Database]:
    set_up(dsn)
    made = Database(dsn)
    yield made
    made.close()


def _rows(database: Database) -> dict[str, int]:
    return {
        table: int(database.row(f"SELECT count(*) FROM sashizu.{table}")[0]) for table in _TABLES
    }


def _ended(board: WorkBoard, key: str, large: str = "") -> None:
    board.submit(Work(key, "contract.echo", large))
    board.begin(key, "one")
    board.tell(key, 1, "begun")
    assert board.end(1, WorkStatus(key, "ok", 1))


def _recorded(database: Database, key: str) -> None:
    """An event of a work that the collector has brought into the record."""
    Outbox(database, "host", key).write([Event("run.started", {"run_id": key})])
    database.rows("UPDATE sashizu.outbox_writer SET moved = last RETURNING 1")


def test_nothing_is_left_of_a_run_that_is_forgotten(database: Database):
    board, key = WorkBoard(database, "test"), str(uuid4())
    spend = SharedSpend(database, "owner")
    spend.open(key, "run", Limits(tokens=100))
    spend.open(str(uuid4()), "agent", Limits(), parent=key)
    spend.close(key)
    _ended(board, key)
    _recorded(database, key)
    told: list[str] = []
    assert board.forget(time() + 60, told.extend) == 1
    assert told == [key]
    assert _rows(database) == dict.fromkeys(_TABLES, 0)
    assert database.row("SELECT count(*) FROM sashizu.spend_node WHERE NOT lasting") == (0,)


def test_what_the_record_of_its_host_has_not_yet_is_kept(database: Database):
    board, key = WorkBoard(database, "test"), uuid7()
    _ended(board, key)
    Outbox(database, "host", key).write([Event("run.started", {"run_id": key})])
    assert board.forget(time() + 60, lambda _: None) == 0
    assert board.status(key).state == "ok"


def test_large_values_of_work_that_goes_on_are_kept(database: Database):
    board, over, going = WorkBoard(database, "test"), uuid7(), uuid7()
    _ended(board, over, "a" * LARGEST)
    board.submit(Work(going, "contract.echo", 1))
    board.begin(going, "one")
    large = "b" * LARGEST
    assert board.tell(going, 1, large)
    step = board.packed("c" * LARGEST)
    database.rows("UPDATE sashizu.work_blob SET put_at = put_at - interval '2 hours' RETURNING 1")
    database.rows(
        "UPDATE sashizu.work SET submitted_at = submitted_at - interval '2 hours' RETURNING 1"
    )
    assert board.forget(time() + 60, lambda _: None) == 1
    assert [event.value for event in board.events(going, 0)] == [large]
    assert board.unpacked(step) == "c" * LARGEST
    board.end(1, WorkStatus(going, "ok", 1))
    assert board.forget(time() + 60, lambda _: None) == 1
    assert _rows(database)["work_blob"] == 0
    with pytest.raises(UsageError, match="not kept any more"):
        board.unpacked(step)


async def test_the_engine_forgets_as_well(dsn: str, database: Database):
    set_up_engine(dsn, "default")
    board, key = WorkBoard(database, "test"), uuid7()
    client = partial(EngineClient, dsn, "default", "test")
    async with cluster_executor(board, client, CONTRACT_OPERATIONS) as executor:
        await executor.submit(Work(key, "contract.echo", 1))
        await executor.cancel(key)
    engine = await anyio.to_thread.run_sync(client)
    count = "SELECT count(*) FROM sashizu_engine_default.workflow_status"
    assert database.row(count) == (1,)
    board.forget(time() + 60, engine.forget)
    engine.close()
    assert database.row(count) == (0,)

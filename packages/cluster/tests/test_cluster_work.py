"""What becomes of work in a cluster: versions, labels, large values, who is gone."""

import threading
from contextlib import aclosing
from functools import partial
from time import monotonic, time

import anyio
import psycopg
import pytest
from sashizu_cluster.board import LARGEST, WorkBoard, queue_of
from sashizu_cluster.cluster_executor import cluster_executor
from sashizu_cluster.database import Database
from sashizu_cluster.engine import WORKFLOW, EngineClient, queues_for
from sashizu_cluster.errors import ClusterError, DatabaseGone
from sashizu_cluster.slots import namespace_of, take_slot
from sashizu_core.errors import UsageError
from sashizu_core.executors import Executor, Work, WorkStatus
from sashizu_core.ids import uuid7
from sashizu_core.plugins import Registry
from sashizu_core.runtime.handed_over import Workplace, operations_of
from sashizu_core.testing.executor_operations import CONTRACT_OPERATIONS

pytestmark = pytest.mark.postgres

WAIT_S = 60.0


async def ended(executor: Executor, key: str) -> WorkStatus:
    with anyio.fail_after(WAIT_S):
        async for _ in executor.events(key):
            pass
    return await executor.status(key)


def test_what_is_stored_has_the_names_that_it_always_had():
    names = {WORKFLOW, *operations_of(Workplace(Registry()))}
    assert names == {"sashizu.work", "sashizu.run", "sashizu.agent"}
    assert queue_of({"b", "a"}, top=True) == "sashizu/runs/a,b"
    assert queue_of((), top=False) == "sashizu/agents/"


def test_a_worker_serves_every_set_of_its_labels():
    assert len(queues_for({"a", "b"})) == 8
    assert queue_of({"a"}, top=False) in queues_for({"a", "b"})
    assert queue_of({"c"}, top=False) not in queues_for({"a", "b"})
    with pytest.raises(UsageError, match="at most 6 labels"):
        queues_for(set("abcdefg"))


async def test_values_that_are_large_are_stored_once_and_come_back_whole(
    executor: Executor, database: Database
):
    large = "ä" * LARGEST
    for _ in range(2):
        key = uuid7()
        await executor.submit(Work(key, "contract.echo", large))
        status = await ended(executor, key)
        assert status.result["echo"] == large
    rows = database.rows("SELECT max(length(payload)), max(length(result)) FROM sashizu.work")
    assert max(rows[0]) < 200
    blobs = database.rows("SELECT count(*) FROM sashizu.work_blob")
    assert blobs == [(2,)]  # the payload, and the result around it


async def test_a_running_step_hears_of_a_cancel_within_a_second(executor: Executor):
    key = uuid7()
    await executor.submit(Work(key, "contract.stuck", 0))
    with anyio.fail_after(WAIT_S):
        async with aclosing(executor.events(key)) as events:
            await anext(events)
    began = monotonic()
    await executor.cancel(key, reason="enough")
    await ended(executor, key)
    assert monotonic() - began < 1.0 + 0.5  # and half a second until it is seen here


async def test_work_goes_to_workers_that_have_its_labels(executor: Executor):
    key = uuid7()
    await executor.submit(Work(key, "contract.echo", 1, labels=frozenset({"served"})))
    assert (await ended(executor, key)).result["labels"] == ["served"]


async def test_a_label_that_nobody_has_is_told_when_time_is_over(executor: Executor):
    key = uuid7()
    needs = frozenset({"gpu:cuda:24g"})
    await executor.submit(Work(key, "contract.echo", 1, labels=needs, deadline=time() + 0.5))
    status = await ended(executor, key)
    assert status.state == "timeout"
    assert "gpu:cuda:24g" in status.error
    assert "before a worker began it" in status.error


async def test_a_worker_of_another_version_does_nothing_of_it(cluster: str, database: Database):
    board = WorkBoard(database, "another")
    client = partial(EngineClient, cluster, "default", "another")
    async with cluster_executor(board, client, CONTRACT_OPERATIONS) as executor:
        key = uuid7()
        await executor.submit(Work(key, "contract.echo", 1, deadline=time() + 1.5))
        status = await ended(executor, key)
    assert (status.state, status.worker) == ("timeout", "")


async def test_what_a_submitter_left_between_two_sentences_is_handed_on(
    executor: Executor, database: Database
):
    key = uuid7()
    WorkBoard(database, "test").submit(Work(key, "contract.echo", 7))
    database.rows(
        "UPDATE sashizu.work SET submitted_at = submitted_at - interval '1 minute' "
        "WHERE key = %s RETURNING 1",
        (key,),
    )
    assert (await ended(executor, key)).result["echo"] == 7


async def test_only_the_newest_attempt_can_tell_and_end(database: Database):
    board, key = WorkBoard(database, "nobody"), uuid7()
    board.submit(Work(key, "contract.echo", 1))
    first, second = board.begin(key, "one"), board.begin(key, "two")
    assert first is not None
    assert second is not None
    assert (first.attempt, second.attempt) == (1, 2)
    assert not board.tell(key, 1, "late")
    assert not board.end(1, WorkStatus(key, "ok", "late"))
    assert board.tell(key, 2, "now")
    assert board.end(2, WorkStatus(key, "ok", "now"))
    assert board.status(key).result == "now"
    assert board.begin(key, "three").state == "ok"


async def test_what_ended_is_forgotten_and_what_goes_on_is_not(database: Database):
    board, done, going = WorkBoard(database, "nobody"), uuid7(), uuid7()
    for key in (done, going):
        board.submit(Work(key, "contract.echo", 1))
        board.begin(key, "one")
    board.end(1, WorkStatus(done, "ok", 1))
    assert board.forget(time() + 60, lambda _: None) >= 1
    with pytest.raises(UsageError, match="there is no work"):
        board.status(done)
    assert board.status(going).state == "working"
    board.end(1, WorkStatus(going, "ok", 1))


def test_a_slot_has_one_owner_and_a_standby_takes_it_when_that_is_gone(dsn: str):
    first = take_slot(dsn, "default", 1, waiting=lambda: pytest.fail("nobody has it"))
    waits, taken = threading.Event(), []
    standby = threading.Thread(
        target=lambda: taken.append(take_slot(dsn, "default", 1, waiting=waits.set)), daemon=True
    )
    standby.start()
    assert waits.wait(WAIT_S)
    assert not taken
    first.close()
    standby.join(WAIT_S)
    assert [lease.slot for lease in taken] == [0]
    taken[0].close()


def test_a_lease_whose_connection_is_cut_is_lost(dsn: str):
    lease = take_slot(dsn, "default", 2, waiting=lambda: None)
    lease.check()
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks "
            "WHERE locktype = 'advisory' AND classid::bigint = %s "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            (namespace_of("default"),),
        )
    with pytest.raises(ClusterError):
        lease.check()


async def test_a_server_that_is_not_there_is_told(tmp_path):
    dsn = f"host={tmp_path} dbname=nowhere"
    with pytest.raises(DatabaseGone, match="cannot be reached"):
        Database(dsn).rows("SELECT 1")

"""No work is left at work for ever, and nobody waits for ever for it."""

from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from time import time
from typing import Any, cast

import anyio
import pytest
from sashizu_cluster import worker as worker_module
from sashizu_cluster.board import WorkBoard
from sashizu_cluster.cluster_executor import cluster_executor
from sashizu_cluster.database import Database
from sashizu_cluster.engine import EngineClient, engine_schema, set_up_engine
from sashizu_cluster.errors import DatabaseGone
from sashizu_cluster.outbox import Outbox
from sashizu_cluster.schema import set_up
from sashizu_cluster.worker import Worker, WorkerPlan
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from sashizu_core.executors import Executor, Work, WorkStatus
from sashizu_core.ids import uuid7
from sashizu_core.testing.executor_operations import CONTRACT_OPERATIONS

pytestmark = pytest.mark.postgres

WAIT_S = 60.0


async def ended(executor: Executor, key: str) -> WorkStatus:
    with anyio.fail_after(WAIT_S):
        async for _ in executor.events(key):
            pass
    return await executor.status(key)


async def told(executor: Executor, key: str) -> None:
    with anyio.fail_after(WAIT_S):
        async with aclosing(executor.events(key)) as events:
            await anext(events)


async def test_an_error_may_quote_what_no_column_can_have(executor: Executor):
    key = uuid7()
    await executor.submit(Work(key, "contract.failing", "a\0b\ud800c"))
    status = await ended(executor, key)
    assert (status.state, status.error) == ("error", "no, because a\\0b\\ud800c")


async def test_a_reason_to_cancel_may_quote_it_as_well(executor: Executor):
    key = uuid7()
    await executor.submit(Work(key, "contract.stuck", 0))
    await told(executor, key)
    await executor.cancel(key, reason="a\0b")
    assert (await ended(executor, key)).error == "a\\0b"


async def test_a_payload_that_is_gone_ends_the_work_and_says_so(
    executor: Executor, database: Database
):
    key = uuid7()
    values = (key, '{"sashizu:blob": "abc"}', "sashizu/runs/", "test")
    database.rows(
        "SELECT sashizu.work_submit(%s, '', 'contract.echo', %s, '{}', %s, %s, NULL)", values
    )
    database.rows(
        "UPDATE sashizu.work SET submitted_at = submitted_at - interval '1 minute' "
        "WHERE key = %s RETURNING 1",
        (key,),
    )
    status = await ended(executor, key)
    assert status.state == "error"
    assert "not kept any more" in status.error


async def test_a_work_that_no_worker_survives_is_given_up(
    executor: Executor, database: Database, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(worker_module, "MOST_ATTEMPTS", 2)
    key, board = uuid7(), WorkBoard(database, "test")
    board.submit(Work(key, "contract.echo", 1))
    for name in ("one", "two"):
        board.begin(key, name)
    database.rows(
        "UPDATE sashizu.work SET submitted_at = submitted_at - interval '1 minute', "
        "state = 'waiting' WHERE key = %s RETURNING 1",
        (key,),
    )
    status = await ended(executor, key)
    assert (status.state, "begun 2 times" in status.error) == ("error", True)


async def test_what_is_beneath_a_work_that_ended_ends_as_well(database: Database):
    board, keys = WorkBoard(database, "nobody"), [uuid7() for _ in range(4)]
    top, at_work, waits, below = keys
    for key, parent in ((top, ""), (at_work, top), (waits, top), (below, at_work)):
        board.submit(Work(key, "contract.echo", 1, parent))
    for key in (top, at_work, below):
        board.begin(key, "one")
    assert board.end(1, WorkStatus(top, "error", error="broken"))
    assert board.status(top) == WorkStatus(top, "error", error="broken", worker="one")
    assert board.status(waits).state == "cancelled"
    for key in (at_work, below):
        news = board.news([key])[key]
        assert (news.state, news.cancelled) == ("working", "the work above has ended")


def test_who_was_cut_off_records_nothing_more_and_so_does_nothing_more(database: Database):
    board, key = WorkBoard(database, "nobody"), uuid7()
    board.submit(Work(key, "contract.echo", 1))
    first, second = Outbox(database, "host", key), Outbox(database, "host", key)
    event = Event("run.started", {"run_id": key})
    board.begin(key, "one")
    first.write([event])
    board.begin(key, "two")
    with pytest.raises(RecordError, match="another worker goes on"):
        first.write([event])
    second.write([event])
    rows = database.rows("SELECT seq FROM sashizu.journal_of(%s)", (key,))
    assert rows == [(1,), (1,)]


async def test_a_work_that_waits_for_a_place_hears_of_a_cancel_and_of_its_deadline(
    database: Database,
):
    board, top, has, late, waits = WorkBoard(database, "nobody"), *[uuid7() for _ in range(4)]
    plan = WorkerPlan("default", frozenset(), 1, {"stuck": lambda _: anyio.sleep_forever()})
    worker = Worker(plan, cast("Any", None), board, cast("Any", None), cast("Any", None))
    board.submit(Work(top, "contract.echo", 1))
    for key in (has, waits, late):
        board.submit(Work(key, "stuck", 1, top, deadline=time() + 0.5 if key == late else None))
    async with anyio.create_task_group() as group:
        group.start_soon(worker._watch)
        for key in (has, waits, late):
            group.start_soon(worker._attempt, key)
        await until(lambda: all(board.status(key).worker for key in (has, waits, late)))
        board.cancel(waits, "enough")
        await until(lambda: board.status(waits).final and board.status(late).final)
        assert board.status(has).state == "working"
        group.cancel_scope.cancel()
    assert (board.status(waits).state, board.status(late).state) == ("cancelled", "timeout")
    board.cancel(top, "over")


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(WAIT_S):
        while not await anyio.to_thread.run_sync(true):
            await anyio.sleep(0.02)


async def test_who_waits_hears_that_time_is_over_although_there_is_no_worker(dsn: str):
    set_up(dsn)
    set_up_engine(dsn, "default")
    database = Database(dsn)
    board, key = WorkBoard(database, "test"), uuid7()
    client = partial(EngineClient, dsn, "default", "test")
    async with cluster_executor(board, client, CONTRACT_OPERATIONS) as executor:
        await executor.submit(Work(key, "contract.echo", 1, deadline=time() + 0.2))
        status = await ended(executor, key)
    database.close()
    assert (status.state, "before a worker began it" in status.error) == ("timeout", True)


async def test_a_clock_that_is_ahead_ends_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    board, key = WorkBoard(database, "nobody"), uuid7()
    board.submit(Work(key, "contract.echo", 1, deadline=time() + 600))
    monkeypatch.setattr("time.time", lambda: time() + 3600)
    assert key not in board.expire()
    assert board.status(key).state == "waiting"


async def test_a_server_that_goes_between_the_board_and_the_engine_refuses_nothing(
    executor: Executor, database: Database, monkeypatch: pytest.MonkeyPatch
):
    def gone(*_: object) -> None:
        raise DatabaseGone("gone")

    key = uuid7()
    with monkeypatch.context() as patched:
        patched.setattr(EngineClient, "enqueue", gone)
        await executor.submit(Work(key, "contract.echo", 7))
    database.rows(
        "UPDATE sashizu.work SET submitted_at = submitted_at - interval '1 minute' "
        "WHERE key = %s RETURNING 1",
        (key,),
    )
    assert (await ended(executor, key)).result["echo"] == 7


async def test_who_follows_a_work_that_is_forgotten_hears_so(
    executor: Executor, database: Database
):
    key = uuid7()
    await executor.submit(Work(key, "contract.echo", 7))
    await ended(executor, key)
    database.rows("DELETE FROM sashizu.work_event WHERE key = %s RETURNING 1", (key,))
    with anyio.fail_after(WAIT_S), pytest.raises(UsageError, match="forgotten meanwhile"):
        async for _ in executor.events(key):
            pass


def test_no_two_tenants_have_the_same_schema_of_the_engine():
    names = ["a-b", "a_b", "a" * 62, "a" * 63, "ab"]
    schemas = {engine_schema(name) for name in names}
    assert len({schema[:63] for schema in schemas}) == len(names)
    assert engine_schema("default") == "sashizu_engine_default"

"""A PostgreSQL of the session, and a database of the test."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import anyio
import pytest
from sashizu_cluster.board import WorkBoard
from sashizu_cluster.cluster_executor import cluster_executor
from sashizu_cluster.database import Database
from sashizu_cluster.engine import Engine, EngineClient, set_up_engine
from sashizu_cluster.schema import set_up
from sashizu_cluster.slots import executor_of, take_slot
from sashizu_cluster.testing import TemporaryPostgres, missing_postgres, temporary_postgres
from sashizu_cluster.worker import Worker, WorkerPlan
from sashizu_core.executors import Executor
from sashizu_core.testing.executor_operations import CONTRACT_OPERATIONS

VERSION = "test"

_WAIT_S = 60.0


@pytest.fixture(scope="session")
def postgres() -> Iterator[TemporaryPostgres]:
    """A real server, the same for all tests of the session."""
    if reason := missing_postgres():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with temporary_postgres() as server:
        yield server


@pytest.fixture
def dsn(postgres: TemporaryPostgres) -> Iterator[str]:
    """An empty database of the server; it is gone after the test."""
    name = postgres.create_database()
    yield postgres.dsn(name)
    postgres.drop_database(name)


class OneWorker:
    """A worker of this process on a thread of its own; the engine allows one."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._ready = threading.Event()
        self._stop: anyio.Event | None = None
        self._token: Any = None
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> OneWorker:
        self._thread.start()
        assert self._ready.wait(_WAIT_S), "the worker does not begin"
        if self.failed is not None:
            raise self.failed
        return self

    def __exit__(self, *_: object) -> None:
        assert self._token is not None
        assert self._stop is not None
        anyio.from_thread.run_sync(self._stop.set, token=self._token)
        self._thread.join(_WAIT_S)
        assert not self._thread.is_alive(), "the worker does not end"
        if self.failed is not None:
            raise self.failed

    def _run(self) -> None:
        try:
            anyio.run(self._worked)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.failed = error
        finally:
            self._ready.set()

    async def _worked(self) -> None:
        self._stop, self._token = anyio.Event(), anyio.lowlevel.current_token()
        lease = take_slot(self._dsn, "default", 4, waiting=lambda: None)
        client = EngineClient(self._dsn, "default", VERSION)
        engine = Engine(self._dsn, "default", VERSION, executor_of("default", lease.slot))
        database = Database(self._dsn)
        plan = WorkerPlan("default", frozenset({"served"}), 64, CONTRACT_OPERATIONS)
        worker = Worker(plan, lease, WorkBoard(database, VERSION), engine, client, lost=self._lost)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(worker.run, self._ready.set)
                await self._stop.wait()
                await worker.finish(5)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(partial(engine.close, 1))
            client.close()
            lease.close()
            database.close()

    def _lost(self, why: str) -> None:
        self.failed = AssertionError(why)


@pytest.fixture(scope="module")
def cluster(postgres: TemporaryPostgres) -> Iterator[str]:
    """A cluster that is set up, with one worker."""
    name = postgres.create_database()
    dsn = postgres.dsn(name)
    set_up(dsn)
    set_up_engine(dsn, "default")
    with OneWorker(dsn):
        yield dsn
    postgres.drop_database(name)


@pytest.fixture
def database(cluster: str) -> Iterator[Database]:
    """A connection to the cluster."""
    made = Database(cluster)
    yield made
    made.close()


@pytest.fixture
async def executor(cluster: str, database: Database) -> AsyncIterator[Executor]:
    """Hands work over to the cluster."""
    board = WorkBoard(database, VERSION)
    client = partial(EngineClient, cluster, "default", VERSION)
    async with cluster_executor(board, client, CONTRACT_OPERATIONS) as executor:
        yield executor

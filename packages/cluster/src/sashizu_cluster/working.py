"""A worker process, from its first look at the database to its last word."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.home import state_home
from sashizu_core.plugins import Registry, open_registry
from sashizu_core.runtime.handed_over import Workplace, operations_of
from sashizu_core.settings import Settings

from sashizu_cluster.board import WorkBoard
from sashizu_cluster.collecting import Collector, only_collector
from sashizu_cluster.database import Database
from sashizu_cluster.device_labels import device_labels
from sashizu_cluster.engine import Engine, EngineClient, queues_for
from sashizu_cluster.journal import journal_sink
from sashizu_cluster.opening import VERSION
from sashizu_cluster.run_spending import RunSpending
from sashizu_cluster.schema import check_cluster
from sashizu_cluster.settings import cluster_settings, dsn_of
from sashizu_cluster.slots import executor_of, take_slot
from sashizu_cluster.worker import Worker, WorkerPlan, worker_name

__all__ = ["WorkerRequest", "work"]

AUTO = "auto"
"""The label that stands for those of the machine's devices."""

_AGAIN_S = 5.0
"""How often a worker that does not collect asks whether it is to, in seconds."""


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """What the command line asks of a worker."""

    settings: Settings
    labels: frozenset[str]
    at_once: int
    roots: tuple[Path, ...]
    grace_s: float


async def work(request: WorkerRequest) -> int:
    """Work until asked to end; returns the exit code.

    Raises:
        ConfigError: no database is named.
        ClusterError: it cannot be reached, is not set up, or is of another version.
        UsageError: there are too many labels.
    """
    own = cluster_settings(request.settings)
    dsn = dsn_of(own)
    registry = open_registry(request.settings)
    labels = request.labels - {AUTO}
    if AUTO in request.labels:
        labels |= await to_thread.run_sync(device_labels, request.settings, registry)
    queues_for(labels)
    await to_thread.run_sync(check_cluster, dsn, own.name)
    database, outbox = Database(dsn), Database(dsn)
    tenant = await to_thread.run_sync(database.tenant)
    async with anyio.create_task_group() as group:
        ended = anyio.Event()
        group.start_soon(_asked_to_end, ended, group.cancel_scope)
        taking = partial(take_slot, dsn, tenant, own.slots, waiting=_standing_by)
        lease = await to_thread.run_sync(taking, abandon_on_cancel=True)
        host = own.host or socket.gethostname()
        place = Workplace(
            replace(registry, sinks={"outbox": journal_sink(outbox, host)}),
            request.roots,
            RunSpending(Database(dsn)),
        )
        plan = WorkerPlan(tenant, labels, request.at_once, operations_of(place))
        engine = Engine(dsn, tenant, VERSION, executor_of(tenant, lease.slot))
        client = await to_thread.run_sync(EngineClient, dsn, tenant, VERSION)
        worker = Worker(plan, lease, WorkBoard(database, VERSION), engine, client)
        group.start_soon(worker.run, partial(_say, f"slot {lease.slot}, ready ({worker_name()})"))
        group.start_soon(worker.or_lost, partial(_collect, Database(dsn), registry, host))
        await ended.wait()
        _say(f"ends, with {worker.busy} at work")
        done = await worker.finish(request.grace_s)
        _leave(done=done)
    return 0


def _leave(*, done: bool) -> None:
    """End at once: what is at hand is a crash to whoever goes on with it, and no cancellation."""
    if not done:
        _say("others go on with what is not done")
    sys.stdout.flush()
    os._exit(0)


def _standing_by() -> None:
    _say("all slots are taken: standing by")


def _say(text: str) -> None:
    sys.stdout.write(f"sashizu worker: {text}\n")
    sys.stdout.flush()


async def _asked_to_end(ended: anyio.Event, scope: anyio.CancelScope) -> None:
    """The first signal has the worker finish, the second end at once."""
    del scope
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if ended.is_set():
                _leave(done=False)
            ended.set()


@asynccontextmanager
async def _record(registry: Registry) -> AsyncGenerator[Collector | None]:
    """The record of this host, opened; None where it has none."""
    spec = next((spec for spec in registry.sinks.values() if spec.query is not None), None)
    if spec is None or spec.query is None:
        yield None
        return
    async with spec.open() as sink:
        yield Collector(Database(""), "", sink, spec.query, _problem)


def _problem(text: str) -> None:
    if text:
        _say(f"the record: {text}")


async def _collect(database: Database, registry: Registry, host: str) -> None:
    """Bring what is recorded here into the record of this host, unless another process does."""
    while True:
        with suppress(UsageError), only_collector(state_home(), host):
            async with _record(registry) as collector:
                if collector is None:
                    _say("this host keeps no record (sashizu-audit is missing): events wait")
                    return
                try:
                    await replace(collector, database=database, host=host).run()
                except SashizuError as error:
                    _say(f"the record cannot be written: {error}")
        await anyio.sleep(_AGAIN_S)

"""A worker of a cluster with the parts of `chaos_parts`: waits for a slot, works until it ends.

    python chaos_worker.py '{"dsn": ..., "slots": 2, "at_once": 50, "parts": [20, 0.05, 0.02, 0]}'

Prints `standby` where all slots are taken, and `slot N` when it begins to work.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import anyio
from anyio import to_thread
from chaos_parts import registry
from sashizu_cluster.board import WorkBoard
from sashizu_cluster.database import Database
from sashizu_cluster.engine import Engine, EngineClient
from sashizu_cluster.journal import journal_sink
from sashizu_cluster.run_spending import RunSpending
from sashizu_cluster.slots import executor_of, take_slot
from sashizu_cluster.worker import Worker, WorkerPlan
from sashizu_core.runtime.handed_over import Workplace, operations_of

TENANT, VERSION, HOST = "default", "chaos", "chaos"


def say(text: str) -> None:
    print(text, flush=True)


async def work(asked: dict[str, Any]) -> None:
    dsn = asked["dsn"]
    lease = await to_thread.run_sync(
        lambda: take_slot(dsn, TENANT, asked["slots"], waiting=lambda: say("standby"))
    )
    database = Database(dsn)
    sink = journal_sink(database, asked.get("host", HOST))
    parts = replace(registry(*asked["parts"]), sinks={sink.name: sink})
    place = Workplace(parts, spending=RunSpending(Database(dsn)))
    plan = WorkerPlan(TENANT, frozenset(), asked["at_once"], operations_of(place))
    engine = Engine(dsn, TENANT, VERSION, executor_of(TENANT, lease.slot))
    client = EngineClient(dsn, TENANT, VERSION)
    worker = Worker(plan, lease, WorkBoard(database, VERSION), engine, client)
    await worker.run(lambda: say(f"slot {lease.slot}"))


if __name__ == "__main__":
    anyio.run(work, json.loads(sys.argv[1]))

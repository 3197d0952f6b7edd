"""What a step of the cluster costs on this machine, for the simulation of a larger one.

    uv run python benchmarks/cluster_costs.py [--steps 2000] [--to cluster_costs.json]

Starts a PostgreSQL of its own, with syncs, and measures CPU: the time that all processes of the
server have used, and that of this process, divided by how often a thing was done. CPU depends
little on what else the machine does; the clock does, so that the sync is the median of many.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import psycopg
from _bench import table
from sashizu_cluster.collecting import Collector
from sashizu_cluster.database import Database
from sashizu_cluster.outbox import Outbox
from sashizu_cluster.schema import set_up
from sashizu_cluster.spending import ChunkSource, SharedSpend
from sashizu_cluster.testing import TemporaryPostgres, temporary_postgres
from sashizu_core.events import Event
from sashizu_core.specs import RecordRows
from sashizu_core.testing.fakes import MemorySink
from sashizu_core.types import Limits

HERE = Path(__file__).resolve().parent
ROWS = 4
"""Events that a step of an agent has: it is asked for, held, answered and settled."""

BILL, WORST, NOTHING = (600, 0, 1, 0), (1000, 0, 1, 0), (0, 0, 0, 0)

EVENT = Event("model.answered", {"model": "costs", "attrs": {"text": "x" * 700}})


def of_server(server: TemporaryPostgres) -> float:
    """Seconds of CPU of the server and of all that it started, those that ended too."""
    main = int((server.folder / "data/postmaster.pid").read_text("ascii").split("\n")[0])
    ticks = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            said = (entry / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) == main:
            ticks += sum(int(one) for one in said[11:15])
        elif int(said[1]) == main:
            ticks += int(said[11]) + int(said[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def of_this_process() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def cost(server: TemporaryPostgres, times: int, work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of CPU for each time: of this process, and of the server."""
    ours, its = of_this_process(), of_server(server)
    work()
    return (of_this_process() - ours) / times, (of_server(server) - its) / times


def engine_steps(server: TemporaryPostgres, steps: int) -> tuple[float, float]:
    """Steps of DBOS with a kilobyte each, in workflows of twenty."""
    from dbos import DBOS

    name = server.create_database()
    url = f"postgresql://{server.superuser}@127.0.0.1:{server.port}/{name}"
    DBOS(config={"name": "costs", "system_database_url": url, "run_admin_server": False})

    @DBOS.step()
    def step(number: int) -> str:
        return f"{number:1000}"

    @DBOS.workflow()
    def agent(count: int) -> int:
        return sum(len(step(number)) for number in range(count))

    DBOS.launch()
    agent(20)
    try:
        return cost(server, steps, lambda: [agent(20) for _ in range(steps // 20)])
    finally:
        DBOS.destroy()


def beside(server: TemporaryPostgres, times: int) -> dict[str, float]:
    """What is done beside the steps: drawing a chunk, writing and collecting the outbox.

    What all do in one transaction with a step is measured without its sync, which the step has.
    """
    dsn = server.dsn(server.create_database())
    set_up(dsn)
    quick = dsn + " options='-c synchronous_commit=off'"
    drawing = source(dsn)
    waits = []
    for _ in range(200):
        begun = time.perf_counter()
        drawing.draw(BILL, NOTHING, WORST, WORST)
        waits.append(time.perf_counter() - begun)
    drawing = source(quick)
    drawn = cost(
        server, times, lambda: [drawing.draw(BILL, NOTHING, WORST, WORST) for _ in range(times)]
    )
    outbox = Outbox(Connected(quick), "costs", "costs")
    written = cost(server, times, lambda: [outbox.write([EVENT] * ROWS) for _ in range(times)])
    collector = Collector(Connected(quick), "costs", MemorySink(), asked)
    ours, its = cost(server, ROWS * times, lambda: anyio.run(collect, collector))
    return {
        "worker_step": written[0],
        "database_step": written[1],
        "database_chunk": drawn[1],
        "database_row": its,
        "collector_row": ours,
        "flush": statistics.median(waits) - drawn[1],
    }


class Connected(Database):
    """As a worker's, but with options of the connection string's own."""

    def _connected(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = psycopg.connect(self.dsn, autocommit=True)
        return self._connection


def source(dsn: str) -> ChunkSource:
    """What an agent of a run of an organisation draws from: three levels."""
    spend = SharedSpend(Connected(dsn), "costs")
    run = spend.open(str(uuid4()), "run", Limits(tokens=10**12))
    return spend.source(spend.open(str(uuid4()), "agent", Limits(tokens=10**11), parent=run))


def asked(query: str, most: int, seconds: float) -> RecordRows:
    """What the record has of a collector that was here before: nothing."""
    return RecordRows(("writer", "seq"), ())


async def collect(collector: Collector) -> None:
    while await collector.collect():
        pass


def measured(steps: int) -> dict[str, Any]:
    with temporary_postgres(fsync=True) as server:
        worker, database = engine_steps(server, steps)
        found = beside(server, steps)
    found["worker_step"] += worker
    found["database_step"] += database
    return {**found, "rows": ROWS}


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    flags.add_argument("--steps", type=int, default=2000)
    flags.add_argument("--to", type=Path, default=HERE / "cluster_costs.json")
    asked = flags.parse_args()
    found = measured(asked.steps)
    rows = [(name, 1000 * seconds) for name, seconds in found.items() if name != "rows"]
    table("What a step costs", ("what", "ms"), rows)
    asked.to.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What workers of a cluster cost, and what a second one gives.

    uv run python benchmarks/cluster_scale.py [--agents 40] [--waiting 300]

Starts a PostgreSQL of its own and real workers, as `cluster_chaos.py` does, and kills none. CPU for
a step is the difference between runs of many and of few steps, of the workers and of PostgreSQL;
how fast one worker and two are is from the first agent to the last; agents that wait for their
models are counted together with the memory of their worker.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import psycopg

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE / "agents"))

from _bench import keep, table  # noqa: E402
from chaos_worker import TENANT  # noqa: E402
from cluster_chaos import Cluster, run  # noqa: E402
from cluster_costs import of_server  # noqa: E402
from sashizu_cluster.engine import set_up_engine  # noqa: E402
from sashizu_cluster.schema import set_up  # noqa: E402
from sashizu_cluster.testing import TemporaryPostgres, temporary_postgres  # noqa: E402

READY = "SELECT count(*) FROM sashizu.worker"
AT_WORK = "SELECT count(*) FROM sashizu.work WHERE state = 'working' AND parent <> ''"
TOOK = """
SELECT extract(epoch FROM max(changed_at) - min(submitted_at))::float8
FROM sashizu.work WHERE parent <> ''
"""


@contextmanager
def workers(server: TemporaryPostgres, **asked: Any) -> Iterator[Cluster]:
    """A cluster of its own with so many workers, which are ready."""
    dsn = server.dsn(server.create_database())
    set_up(dsn)
    set_up_engine(dsn, TENANT)
    usual = {"model_faults": 0.0, "tool_faults": 0.0, "tokens": 10**6, "minutes": 10.0, "seed": 1}
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(dsn, argparse.Namespace(**usual, folder=folder, **asked))
        try:
            for _ in range(cluster.asked.workers):
                cluster.begin()
            until = time.monotonic() + 120
            while one(dsn, READY) < cluster.asked.workers:
                assert time.monotonic() < until, "no worker begins"
                time.sleep(0.1)
            yield cluster
        finally:
            cluster.stop()


def one(dsn: str, query: str) -> Any:
    with psycopg.connect(dsn) as db:
        (row,) = db.execute(query.encode()).fetchall()
    return row[0]


def of_worker(pid: int) -> float:
    """Seconds of CPU of a process."""
    said = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(said[11]) + int(said[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def cpu(server: TemporaryPostgres, agents: int, steps: int) -> tuple[float, float]:
    """Seconds of CPU of the worker and of PostgreSQL for a run."""
    with workers(server, workers=1, at_once=20, agents=agents, steps=steps, latency=0.0) as made:
        ours, its = of_worker(made.workers[0].pid), of_server(server)
        report = anyio.run(run, made)
        assert all(result.ok for result in report.results)
        return of_worker(made.workers[0].pid) - ours, of_server(server) - its


def took(server: TemporaryPostgres, count: int, agents: int) -> float:
    """Seconds from the first agent to the last, with two seconds for each answer of the model."""
    shape = {"at_once": 10, "agents": agents, "steps": 2, "latency": 2.0}
    with workers(server, workers=count, **shape) as made:
        report = anyio.run(run, made)
        assert all(result.ok for result in report.results)
        return float(one(made.dsn, TOOK))


def waiting(server: TemporaryPostgres, agents: int) -> tuple[int, float, float]:
    """How many agents wait for their model at once, and what their worker has before and then."""
    shape = {"at_once": agents, "agents": agents, "steps": 0, "latency": 3600.0}
    with workers(server, workers=1, **shape) as made:
        pid = made.workers[0].pid
        before, most, then = memory_mb(pid), 0, 0.0
        asking = threading.Thread(target=lambda: _given_up(made), daemon=True)
        asking.start()
        until = time.monotonic() + 60 * made.asked.minutes
        while most < agents and time.monotonic() < until:
            time.sleep(1.0)
            most, then = int(one(made.dsn, AT_WORK)), memory_mb(pid)
        time.sleep(5.0)
        return most, before, memory_mb(pid) if most else then


def _given_up(made: Cluster) -> None:
    """Hand a run over that nobody waits for: its worker is ended before."""
    try:
        anyio.run(run, made)
    except Exception as error:  # noqa: BLE001 - the server is gone when it is asked
        print(f"given up: {error}", file=sys.stderr)


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    flags.add_argument("--agents", type=int, default=40)
    flags.add_argument("--waiting", type=int, default=300)
    flags.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    asked = flags.parse_args()
    few, many, agents = 4, 24, 20
    with temporary_postgres(fsync=True) as server:
        less, more = cpu(server, agents, few), cpu(server, agents, many)
        steps = 2 * agents * (many - few)  # a call of the model and one of a tool
        ours, its = ((more[n] - less[n]) / steps for n in (0, 1))
        single, double = took(server, 1, asked.agents), took(server, 2, asked.agents)
        there, before, then = waiting(server, asked.waiting)
    rows: list[tuple[str, float]] = [
        ("CPU of a worker for a step, ms", 1000 * ours),
        ("CPU of PostgreSQL for a step, ms", 1000 * its),
        (f"{asked.agents} agents on one worker, s", single),
        (f"{asked.agents} agents on two workers, s", double),
        ("two are faster by", single / double),
        ("agents that wait for their models at once", there),
        ("their worker has, MB", then),
        ("for each, KB", 1024 * (then - before) / max(1, there)),
    ]
    table("Workers of a cluster", ("what", "measured"), rows)
    keep(asked.json, dict(rows))


if __name__ == "__main__":
    main()

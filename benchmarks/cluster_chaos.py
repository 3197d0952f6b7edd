"""A cluster whose workers are killed and whose PostgreSQL is cut down while agents are at work.

    uv run python benchmarks/cluster_chaos.py [--agents 100] [--kills 6] [--restarts 1] [--hangs 1]

Models and tools fail at random, workers die by SIGKILL, the server is ended as if its machine had
lost power, and hangs for some seconds. Then everything is held against what has to be: every agent
in a final state, no run left behind, each event once, no limit passed in any of the samples that
are taken every 100 ms nor after any event of the history, and no process left. Ends with 0 if all
of it is so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import psycopg

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE / "agents"))

from _bench import keep, table  # noqa: E402
from chaos_parts import AGENT, registry  # noqa: E402
from chaos_worker import HOST, TENANT, VERSION  # noqa: E402
from sashizu_audit.asking import asked as ask_record  # noqa: E402
from sashizu_audit.verify import verify_record  # noqa: E402
from sashizu_audit.writer import AuditWriter  # noqa: E402
from sashizu_cluster.board import WorkBoard  # noqa: E402
from sashizu_cluster.cluster_executor import ClusterExecutor, cluster_executor  # noqa: E402
from sashizu_cluster.collecting import Collector  # noqa: E402
from sashizu_cluster.database import Database  # noqa: E402
from sashizu_cluster.engine import EngineClient, set_up_engine  # noqa: E402
from sashizu_cluster.schema import set_up  # noqa: E402
from sashizu_cluster.testing import TemporaryPostgres, temporary_postgres  # noqa: E402
from sashizu_core.executors import Operation  # noqa: E402
from sashizu_core.runtime import delegate_parallel  # noqa: E402
from sashizu_core.settings import Settings  # noqa: E402
from sashizu_core.specs import ExecutorSpec, RecordRows  # noqa: E402
from sashizu_core.types import Limits, RunReport, Task  # noqa: E402

WRITTEN = "SELECT coalesce(sum(last), 0) FROM sashizu.outbox_writer"
STRANDED = "SELECT count(*) FROM sashizu.work WHERE state IN ('waiting', 'working')"
EVENTS = """
SELECT count(*), count(DISTINCT (json_extract_string(attrs, '$.outbox.writer'),
  json_extract_string(attrs, '$.outbox.seq')))
FROM events WHERE json_extract_string(attrs, '$.outbox.writer') IS NOT NULL
"""
TWICE = """
SELECT agent_id, kind, step FROM events
WHERE kind IN ('agent.started', 'agent.ended', 'model.answered', 'tool.ended')
GROUP BY ALL HAVING count(*) > 1
"""
MONEY = """
SELECT kind, budget_held, coalesce(budget_spent, 0) FROM events
WHERE kind IN ('budget.held', 'budget.settled', 'budget.released')
ORDER BY CAST(json_extract_string(attrs, '$.outbox.at_ns') AS BIGINT), seq
"""
SPENT = """
SELECT coalesce(max(spent[1] + held[1]), 0), coalesce(max(spent[1] + held[1] - limits[1]), -1)
FROM sashizu.spend_node WHERE limits[1] IS NOT NULL
"""
WORKING = "SELECT key, worker FROM sashizu.work WHERE state = 'working' AND worker <> ''"


@dataclass
class Cluster:
    """Workers as processes, and what was seen of them."""

    dsn: str
    asked: argparse.Namespace
    host: str = HOST
    mark: str = field(default_factory=lambda: uuid4().hex)
    workers: list[subprocess.Popen[str]] = field(default_factory=list)
    kills: int = 0
    restarts: int = 0
    hangs: int = 0
    samples: int = 0
    above: int = 0
    working: int = 0
    takeovers: list[float] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def begin(self) -> None:
        """Start one more worker."""
        asked = self.asked
        parts = [asked.steps, asked.model_faults, asked.tool_faults, asked.latency]
        what = {"dsn": self.dsn, "slots": asked.workers, "at_once": asked.at_once, "parts": parts}
        command = [sys.executable, str(HERE / "agents/chaos_worker.py"), json.dumps(what)]
        env = {**os.environ, "SASHIZU_CHAOS": self.mark, "SASHIZU_CHAOS_SEED": str(asked.seed)}
        with Path(asked.folder, f"worker-{len(self.workers)}").open("w") as log:
            started = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=env)
        self.workers.append(started)

    def alive(self) -> list[subprocess.Popen[str]]:
        return [worker for worker in self.workers if worker.poll() is None]

    def kill_one(self, chance: random.Random) -> None:
        alive = self.alive()
        if alive:
            chance.choice(alive).kill()
            self.kills += 1

    def stop(self) -> None:
        for worker in self.alive():
            worker.send_signal(signal.SIGKILL)
        for worker in self.workers:
            worker.wait(10)

    def left(self) -> list[int]:
        """Processes that a worker started and that are still there."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found


@contextmanager
def kept_alive(cluster: Cluster) -> Iterator[None]:
    """Start a worker for each that has ended, as systemd would."""

    def begin() -> None:
        wanted = cluster.asked.workers + cluster.asked.standby
        while not cluster.ended.wait(0.2):
            for _ in range(wanted - len(cluster.alive())):
                cluster.begin()

    with beside(cluster, begin):
        yield


@contextmanager
def beside(cluster: Cluster, *what: Callable[[], None]) -> Iterator[None]:
    threads = [threading.Thread(target=each, daemon=True) for each in what]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        cluster.ended.set()
        for thread in threads:
            thread.join(30)


def harm(cluster: Cluster, server: TemporaryPostgres) -> None:
    """Kill workers and cut the server down, at random times, once agents are at work."""
    asked, chance = cluster.asked, random.Random(cluster.asked.seed)
    what = ["kill"] * asked.kills + ["restart"] * asked.restarts + ["hang"] * asked.hangs
    chance.shuffle(what)
    for each in what:
        while not cluster.working:
            if cluster.ended.wait(0.1):
                return
        if cluster.ended.wait(chance.uniform(0.5, 1.5) * asked.pause):
            return
        if each == "kill":
            cluster.kill_one(chance)
        elif each == "restart":
            server.restart("immediate")
            cluster.restarts += 1
        else:
            server.pause()
            cluster.ended.wait(chance.uniform(1, 8))
            server.resume()
            cluster.hangs += 1


def look(cluster: Cluster) -> None:
    """See every 100 ms who works, and when others go on with the work of a dead worker."""
    left: dict[str, float] = {}
    while not cluster.ended.wait(0.1):
        try:
            with psycopg.connect(cluster.dsn, connect_timeout=2) as db:
                working = dict(db.execute(WORKING).fetchall())
                ((used, over),) = db.execute(SPENT).fetchall()
        except psycopg.Error:
            continue  # it is being restarted
        cluster.samples += used > 0
        cluster.above += over > 0
        cluster.working = len(working)
        dead = {str(worker.pid) for worker in cluster.workers if worker.poll() is not None}
        for key, worker in working.items():
            if worker.rpartition(":")[2] in dead:
                left.setdefault(key, time.monotonic())
        for key in [key for key in left if working.get(key, "").rpartition(":")[2] not in dead]:
            cluster.takeovers.append(time.monotonic() - left.pop(key))


async def run(cluster: Cluster) -> RunReport:
    """Hand a run over, and wait for it."""
    asked = cluster.asked
    database = Database(cluster.dsn)

    @asynccontextmanager
    async def open_(operations: Mapping[str, Operation]) -> AsyncIterator[ClusterExecutor]:
        board = WorkBoard(database, VERSION)
        client = partial(EngineClient, cluster.dsn, TENANT, VERSION)
        async with cluster_executor(board, client, operations) as executor:
            yield executor

    parts = registry(asked.steps, asked.model_faults, asked.tool_faults, asked.latency)
    parts = replace(parts, executors={"cluster": ExecutorSpec("cluster", "", open_)})
    with closing(database), anyio.fail_after(asked.minutes * 60):
        return await delegate_parallel(
            [Task(AGENT.name)] * asked.agents,
            workspace=asked.folder,
            agents=[AGENT],
            settings=Settings({"run": {"executor": "cluster", "jobs": asked.agents}}),
            registry=parts,
            budget=Limits(tokens=asked.tokens * asked.agents),
        )


async def collected(cluster: Cluster, folder: Path) -> int:
    """Bring all events into a record; how many writers lack one."""

    def asks(query: str, most: int, seconds: float) -> RecordRows:
        return ask_record(folder, query, limit=most, timeout_s=seconds)

    with closing(AuditWriter(folder)) as writer, closing(Database(cluster.dsn)) as database:
        collector = Collector(database, cluster.host, writer, asks)
        while await collector.collect():
            pass
        return len(await collector.gaps())


def found(cluster: Cluster, report: RunReport, folder: Path) -> dict[str, Any]:
    """What the report, the database and the record say."""
    asked = cluster.asked
    gaps = anyio.run(collected, cluster, folder)
    with psycopg.connect(cluster.dsn) as db:
        (written,) = db.execute(WRITTEN).fetchone()
        (stranded,) = db.execute(STRANDED).fetchone()
        ((used, _),) = db.execute(SPENT).fetchall()
        (again,) = db.execute("SELECT count(*) FROM sashizu.work WHERE attempt > 1").fetchone()

    def ask(query: str) -> list[tuple[Any, ...]]:
        return list(ask_record(folder, query, limit=100_000, timeout_s=60).rows)

    ((kept, distinct),) = ask(EVENTS)
    spent, most = money(ask(MONEY))
    return {
        "agents": len(report.results),
        "outcomes": dict(Counter(str(result.outcome.value) for result in report.results)),
        "kills": cluster.kills,
        "restarts": cluster.restarts,
        "hangs": cluster.hangs,
        "works begun again": again,
        "samples of the budget": cluster.samples,
        "samples above the limit": cluster.above,
        "tokens of the limit": asked.tokens * asked.agents,
        "tokens spent or in doubt, by the rows": used,
        "tokens spent or in doubt, by the history": spent,
        "most of them after any event": most,
        "events": kept,
        "events lost": int(written) - distinct,
        "events doubled": kept - distinct,
        "steps told twice": len(ask(TWICE)),
        "gaps": gaps,
        "works stranded": stranded,
        "damage": verify_record(folder).exit_code,
    }


def checked(figures: dict[str, Any], asked: argparse.Namespace) -> list[str]:
    """What is not as it has to be."""
    wanted = {
        "agents": asked.agents,
        "kills": asked.kills,
        "restarts": asked.restarts,
        "hangs": asked.hangs,
        "events lost": 0,
        "events doubled": 0,
        "samples above the limit": 0,
        "steps told twice": 0,
        "gaps": 0,
        "works stranded": 0,
        "damage": 0,
        "processes left": 0,
    }
    wrong = [f"{name}: {figures[name]}" for name, right in wanted.items() if figures[name] != right]
    if figures["most of them after any event"] > asked.tokens * asked.agents:
        wrong.append("the history is above the limit")
    if not figures["samples of the budget"]:
        wrong.append("nobody looked at the budget")
    return wrong


def money(rows: list[tuple[Any, ...]]) -> tuple[int, int]:
    """What was spent or is in doubt in the end, and the most that it was after any event.

    A hold that nobody settled, since who made the call was killed, counts in full for ever.
    """
    had = most = 0
    for kind, held, spent in rows:
        had += held if kind == "budget.held" else spent - held
        most = max(most, had)
    return had, most


def chaos(asked: argparse.Namespace) -> dict[str, Any]:
    with temporary_postgres(fsync=True) as server:
        dsn = server.dsn(server.create_database())
        set_up(dsn)
        set_up_engine(dsn, TENANT)
        cluster = Cluster(dsn, asked)
        begun = time.monotonic()
        with (
            kept_alive(cluster),
            beside(cluster, lambda: harm(cluster, server)),
            beside(cluster, lambda: look(cluster)),
        ):
            report = anyio.run(run, cluster)
            took = time.monotonic() - begun
        cluster.stop()
        ended = time.monotonic()
        figures = found(cluster, report, Path(asked.folder, "record"))
        time.sleep(max(0.0, 10 - (time.monotonic() - ended)))
        figures["processes left"] = len(cluster.left())
        figures["seconds"] = took
        figures["taken over within, s, p95"] = _p95(cluster.takeovers)
        return figures


def _p95(values: list[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))] if values else 0.0


def main() -> None:
    flags = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    flags.add_argument("--agents", type=int, default=100)
    flags.add_argument("--steps", type=int, default=20)
    flags.add_argument("--workers", type=int, default=2, help="that have a slot")
    flags.add_argument("--standby", type=int, default=1, help="that wait for one")
    flags.add_argument("--at-once", type=int, default=25, help="agents of a worker")
    flags.add_argument("--kills", type=int, default=6)
    flags.add_argument("--restarts", type=int, default=1)
    flags.add_argument("--hangs", type=int, default=1, help="of the server, up to 8 s")
    flags.add_argument("--pause", type=float, default=3.0, help="seconds between two, on average")
    flags.add_argument("--latency", type=float, default=0.05, help="of the model, in seconds")
    flags.add_argument("--model-faults", type=float, default=0.05)
    flags.add_argument("--tool-faults", type=float, default=0.02)
    flags.add_argument("--tokens", type=int, default=25_000, help="for each agent, shared by all")
    flags.add_argument("--minutes", type=float, default=10.0, help="the most it may take")
    flags.add_argument("--seed", type=int, default=1)
    flags.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    asked = flags.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        asked.folder = folder
        figures = chaos(asked)
    wrong = checked(figures, asked)
    table("What became of it", ("what", "found"), list(figures.items()))
    keep(asked.json, figures)
    print("as it has to be" if not wrong else "WRONG: " + "; ".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()

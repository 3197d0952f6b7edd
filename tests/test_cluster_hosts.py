"""Two hosts of a cluster, as network namespaces: one is cut off while its agents are at work."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
from sashizu_audit.asking import asked
from sashizu_audit.verify import verify_record
from sashizu_cluster.schema import set_up
from sashizu_cluster.testing import TemporaryPostgres, missing_postgres, temporary_postgres

WORKER = Path(__file__).parents[1] / "benchmarks/agents/chaos_worker.py"
ENOUGH_S = 60.0
LOST = 75
AGENTS = 10

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(bool(missing_postgres()), reason=missing_postgres()),
]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)


class Host:
    """A namespace with a cable to this machine."""

    def __init__(self, name: str, number: int) -> None:
        self.name = f"sashizu-{name}-{os.getpid()}"
        self.cable = f"sz{name}{os.getpid()}"
        self.server = f"10.231.{number}.1"
        ip("netns", "add", self.name)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("addr", "add", f"{self.server}/24", "dev", self.cable)
        ip("link", "set", self.cable, "up")
        ip("-n", self.name, "addr", "add", f"10.231.{number}.2/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", self.name, "link", "set", device, "up")

    def cut_off(self) -> None:
        """Pull the cable; both ends see nothing but silence."""
        ip("-n", self.name, "link", "set", "eth0", "down")

    def close(self) -> None:
        for words in (("netns", "del", self.name), ("link", "del", self.cable)):
            with suppress(subprocess.CalledProcessError):
                ip(*words)


@pytest.fixture
def chaos() -> Any:
    """The program of the chaos run; it brings the engine, which tests of other things need not."""
    sys.path += [str(Path(__file__).parents[1] / "benchmarks" / part) for part in ("", "agents")]
    return import_module("cluster_chaos")


@pytest.fixture
def hosts() -> Iterator[dict[str, Host]]:
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("needs root and iproute2 to make network namespaces")
    made: dict[str, Host] = {}
    try:
        for number, name in enumerate(("a", "b"), start=int(time.time()) % 100 + 1):
            made[name] = Host(name, number)
    except subprocess.CalledProcessError as error:
        for host in made.values():
            host.close()
        pytest.skip(f"no network namespace can be made here: {error.stderr.strip()}")
    yield made
    for host in made.values():
        host.close()


@pytest.fixture
def server() -> Iterator[TemporaryPostgres]:
    """A server that hosts reach over their cables."""
    with temporary_postgres() as server:
        with (server.folder / "data/pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.231.0.0/16 trust\n")
        server.stop()
        options = f"-c listen_addresses=* -p {server.port} -k {server.folder} -c fsync=off"
        server._ctl("start", "-o", options, "-l", str(server.folder / "log"))
        yield server


def worker(host: Host, name: str, dsn: str, log: Path) -> "subprocess.Popen[str]":
    what = {"dsn": dsn, "slots": 2, "at_once": AGENTS // 2, "host": name, "parts": [20, 0, 0, 0.3]}
    with log.open("w") as out:
        return subprocess.Popen(
            ["ip", "netns", "exec", host.name, sys.executable, str(WORKER), json.dumps(what)],
            stdout=out,
            stderr=out,
            text=True,
        )


def until(what: Callable[[], bool], told: str) -> float:
    """Wait for something; how long it took."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < ENOUGH_S, f"waited in vain: {told}"
        time.sleep(0.05)
    return time.monotonic() - begun


def test_a_host_that_is_cut_off_ends_its_worker_before_another_goes_on(
    hosts: dict[str, Host], server: TemporaryPostgres, chaos: Any, tmp_path: Path
) -> None:
    database = server.create_database()
    dsn = server.dsn(database)
    set_up(dsn)
    chaos.set_up_engine(dsn, "default")
    started = {}
    for name, host in hosts.items():
        remote = f"host={host.server} port={server.port} user=postgres dbname={database}"
        started[name] = worker(host, name, remote, tmp_path / f"log-{name}")
    seen: dict[str, float] = {}
    moved: list[str] = []

    def at_work() -> set[str]:
        """The processes that have agents in hand: `ip` becomes the worker that it starts."""
        with closing(psycopg.connect(dsn)) as db:
            working = dict(db.execute(chaos.WORKING).fetchall())
        return {worker.rpartition(":")[2] for key, worker in working.items() if "/" in key}

    def cut() -> None:
        for name, process in started.items():
            assert process.poll() is None, (tmp_path / f"log-{name}").read_text()
        both_of_them = {str(process.pid) for process in started.values()}
        until(lambda: both_of_them <= at_work(), "both hosts are at work")
        with closing(psycopg.connect(dsn)) as db:
            before = dict(db.execute(chaos.WORKING).fetchall())
        hosts["a"].cut_off()
        seen["ended"] = until(lambda: started["a"].poll() is not None, "the worker has ended")
        with closing(psycopg.connect(dsn)) as db:
            now = dict(db.execute(chaos.WORKING).fetchall())
        moved.extend(key for key in before if now.get(key, before[key]) != before[key])

    async def both() -> object:
        options = argparse.Namespace(
            steps=20, model_faults=0, tool_faults=0, latency=0.3, agents=AGENTS, tokens=10**6,
            minutes=3, folder=str(tmp_path),
        )  # fmt: skip
        found = []

        async def run() -> None:
            found.append(await chaos.run(chaos.Cluster(dsn, options)))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await anyio.to_thread.run_sync(cut)
        return found[0]

    try:
        report = anyio.run(both)
    finally:
        for process in started.values():
            process.kill()
            process.wait(20)

    assert [result.outcome.value for result in report.results] == ["answered"] * AGENTS
    assert started["a"].returncode == LOST
    assert seen["ended"] < 15
    assert moved == [], "somebody went on while the one before was alive"
    for name in hosts:
        folder = tmp_path / f"record-{name}"
        assert (
            anyio.run(chaos.collected, chaos.Cluster(dsn, argparse.Namespace(), name), folder) == 0
        )
        assert verify_record(folder).exit_code == 0
    told = [row for name in hosts for row in rows(tmp_path / f"record-{name}")]
    assert len(told) == len(set(told))
    assert sum(kind == "agent.ended" for _, kind, _ in told) == AGENTS


def rows(folder: Path) -> list[tuple[str, str, object]]:
    query = (
        "SELECT agent_id, kind, step FROM events "
        "WHERE kind IN ('agent.started', 'agent.ended', 'tool.ended')"
    )
    found = asked(folder, query, limit=100_000, timeout_s=60).rows
    return [(str(agent), str(kind), step) for agent, kind, step in found]

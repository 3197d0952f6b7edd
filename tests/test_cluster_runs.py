"""Runs on the workers of a cluster, as programs: workers are killed, and the terminal goes away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from sashizu_audit.store import AuditStore
from sashizu_cluster.board import RunRow, WorkBoard
from sashizu_cluster.database import Database
from sashizu_cluster.slots import namespace_of
from sashizu_cluster.testing import TemporaryPostgres, missing_postgres, temporary_postgres
from sashizu_core.runtime.handed_run import RUN

pytestmark = [pytest.mark.postgres, pytest.mark.crash]

WAIT_S = 120.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[TemporaryPostgres]:
    if reason := missing_postgres():
        pytest.skip(reason)
    with temporary_postgres() as server:
        yield server


class Cluster:
    """A cluster of its own: a database, a repository, and the state of a machine."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.repository = folder / "repository"
        self.home = folder / "home"
        (self.repository / "src").mkdir(parents=True)
        for number in range(8):
            (self.repository / "src" / f"m{number}.py").write_text("import os\n", "utf-8")
        self.env = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "SASHIZU_HOME": str(self.home),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "SASHIZU_CLUSTER": dsn,
        }
        self.database = Database(dsn)
        self.board = WorkBoard(self.database, "")

    def call(self, *words: str) -> str:
        """What a command prints."""
        done = subprocess.run(
            [*_sashizu(), *words],
            cwd=self.repository,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def program(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.home.parent / f"{words[0]}.log").open("ab") as log:
            started = subprocess.Popen(
                [*_sashizu(), *words], cwd=self.repository, env=self.env, stdout=log, stderr=log
            )
            try:
                yield started
            finally:
                started.kill()
                started.wait(WAIT_S)

    def until(self, what: str, found: Callable[[], Any]) -> Any:
        """Wait until something is so."""
        until = monotonic() + WAIT_S
        while monotonic() < until:
            if value := found():
                return value
            sleep(0.05)
        logs = "".join(log.read_text("utf-8") for log in self.home.parent.glob("*.log"))
        raise AssertionError(f"not within {WAIT_S:g} s: {what}\n{logs[-4000:]}")

    def run(self) -> RunRow | None:
        rows = self.board.runs(RUN, 1)
        return rows[0] if rows else None

    def at_work(self, agents: int) -> bool:
        found = self.run()
        return found is not None and found.ended >= agents

    def over(self) -> RunRow | None:
        found = self.run()
        return found if found is not None and found.state not in ("waiting", "working") else None

    def query(self, sql: str) -> list[dict[str, Any]]:
        return AuditStore(self.home / "audit").query(sql).dicts()


def _sashizu() -> list[str]:
    return [str(Path(sys.executable).with_name("sashizu"))]


@pytest.fixture
def cluster(tmp_path: Path, postgres: TemporaryPostgres) -> Iterator[Cluster]:
    name = postgres.create_database()
    made = Cluster(tmp_path, postgres.dsn(name))
    made.call("cluster", "init")
    yield made
    made.database.close()
    postgres.drop_database(name)


def test_a_run_ends_although_its_workers_are_killed_and_its_terminal_is_gone(cluster: Cluster):
    count = 12
    agents = ",".join(["code-reviewer"] * count)
    words = ["delegate-parallel", agents, "--executor", "cluster", "--budget", "900000"]
    with cluster.program("worker", "--slots", "2") as first:
        with cluster.program(*words, "--goal", "Review.", "--jobs", str(count)) as terminal:
            cluster.until("agents of the run are at work", lambda: cluster.at_work(1))
            terminal.kill()
        first.kill()
    assert not cluster.over(), "nobody was left to do it"
    with cluster.program("worker", "--slots", "2"):
        row = cluster.until("the run ended", cluster.over)
        run_id = f"run_id = '{row.key}'"
        ended = f"SELECT count(*) AS n FROM events WHERE {run_id} AND kind = 'run.ended'"
        cluster.until("the record has all of it", lambda: cluster.query(ended)[0]["n"])
    assert (row.state, row.ended, row.below) == ("ok", count, count), row
    once = cluster.query(
        f"SELECT kind, agent_id, step, count(*) AS n FROM events WHERE {run_id} AND kind IN ("
        "'run.started', 'run.ended', 'agent.started', 'agent.ended', 'model.answered', "
        "'tool.ended', 'budget.settled') GROUP BY ALL HAVING n > 1"
    )
    assert once == []
    ends = cluster.query(
        f"SELECT count(DISTINCT agent_id) AS n FROM events WHERE {run_id} "
        "AND kind = 'agent.ended' AND status = 'ok'"
    )
    assert ends == [{"n": count}]
    (budget,) = cluster.database.rows(
        "SELECT spent[1], held[1], limits[1] FROM sashizu.spend_node WHERE limits[1] = 900000"
    )
    assert budget[1] == 0
    assert 0 < budget[0] <= budget[2]
    verified = cluster.call("audit", "verify")
    assert "intact" in verified


def test_the_report_of_a_cluster_is_that_of_this_process(cluster: Cluster):
    words = ["delegate-parallel", "code-reviewer,sec-audit", "--goal", "Review.", "-o"]
    here, there = (cluster.home.parent / name for name in ("here.json", "there.json"))
    cluster.call(*words, str(here))
    with cluster.program("worker", "--labels", "auto"):
        cluster.call(*words, str(there), "--executor", "cluster")
        status = json.loads(cluster.call("cluster", "status", "--json"))
        runs = json.loads(cluster.call("cluster", "runs", "--json"))
        shown = cluster.call("cluster", "runs", "--show", runs[0]["key"])
        assert cluster.call("cluster", "drain", "--timeout", "10s").startswith("drained")
    local, remote = (json.loads(file.read_text("utf-8")) for file in (here, there))
    assert local.keys() == remote.keys()
    assert [(each["slot"], each["at_once"]) for each in status["workers"]] == [(0, 8)]
    assert any(label.startswith("gpu:") for label in status["workers"][0]["labels"])
    assert "# sec-audit: answered" in shown
    assert [(each["state"], each["below"], each["ended"]) for each in runs] == [("ok", 2, 2)]


def test_a_worker_that_is_asked_to_end_finishes_what_is_at_hand(cluster: Cluster):
    with cluster.program("worker") as worker:
        cluster.until("it is ready", lambda: cluster.board.workers(namespace_of("default")))
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(WAIT_S) == 0


def test_a_worker_whose_database_is_gone_ends_at_once(tmp_path: Path):
    if reason := missing_postgres():
        pytest.skip(reason)
    with temporary_postgres() as server:
        cluster = Cluster(tmp_path, server.dsn(server.create_database()))
        cluster.call("cluster", "init")
        with cluster.program("worker") as worker:
            cluster.until("it is ready", lambda: cluster.board.workers(namespace_of("default")))
            server.stop("immediate")
            try:
                assert worker.wait(WAIT_S) == 75
            finally:
                server.start()
            said = (tmp_path / "worker.log").read_text("utf-8")
            assert "this worker ends now, and others go on" in said
        cluster.database.close()

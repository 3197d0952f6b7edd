"""Collectors are killed and PostgreSQL is cut down: each event is in the record exactly once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sashizu_audit.store import AuditStore
from sashizu_audit.verify import verify_record
from sashizu_cluster.database import Database
from sashizu_cluster.errors import ClusterError
from sashizu_cluster.outbox import Outbox
from sashizu_cluster.schema import set_up
from sashizu_cluster.testing import missing_postgres, temporary_postgres
from sashizu_core.errors import RecordError
from sashizu_core.events import Event

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(bool(missing_postgres()), reason=missing_postgres()),
]

PROGRAM = Path(__file__).parent / "programs" / "collect_host.py"
ENOUGH_S = 60.0
KILLS = 4

SEEN = """
SELECT step, count(*) AS times FROM events WHERE kind = 'tool.requested' GROUP BY step ORDER BY step
"""
NUMBERS = """
SELECT json_extract_string(attrs, '$.outbox.writer') AS writer, count(*) AS many,
       count(DISTINCT json_extract_string(attrs, '$.outbox.seq')) AS different,
       max(CAST(json_extract_string(attrs, '$.outbox.seq') AS BIGINT)) AS highest
FROM events WHERE kind = 'tool.requested' GROUP BY 1
"""


class Writing(threading.Thread):
    """Writes steps one after the other; of one that could not be written nothing is known."""

    def __init__(self, dsn: str) -> None:
        super().__init__(daemon=True)
        self.database = Database(dsn)
        self.sure: set[int] = set()
        self.doubtful: set[int] = set()
        self.stop = threading.Event()

    def run(self) -> None:
        outbox, step = Outbox(self.database, "alpha", "worker"), 0
        while not self.stop.wait(0.002):
            step += 1
            try:
                outbox.write([Event("tool.requested", {"step": step})])
                self.sure.add(step)
            except RecordError:
                self.doubtful.add(step)
                self.stop.wait(0.05)
        self.database.close()


@contextmanager
def collecting(dsn: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A collector, which is killed at the end of the block."""
    words = [sys.executable, str(PROGRAM), dsn, "alpha", str(folder)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: process.poll() is not None or folder.exists(), "the collector begins")
            yield process
        finally:
            process.kill()
            process.wait(ENOUGH_S)


def until(met, what: str) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it is not met in time.
    """
    end = time.monotonic() + ENOUGH_S
    while not met():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {ENOUGH_S:g} s: {what}")
        time.sleep(0.02)


def collected(database: Database) -> int:
    """How many events were brought on, -1 where that is not to be told now."""
    try:
        rows = database.rows("SELECT collected FROM sashizu.outbox_stand()", again=True)
    except ClusterError:
        return -1
    return int(rows[0][0]) if rows else 0


def waiting(database: Database) -> int:
    try:
        return int(database.row("SELECT waiting FROM sashizu.outbox_stand()", again=True)[0])
    except ClusterError:
        return -1


def test_killed_collectors_lose_nothing_and_repeat_nothing(tmp_path):
    folder = tmp_path / "alpha"
    with temporary_postgres(fsync=True) as server:
        dsn = server.dsn(server.create_database())
        set_up(dsn)
        database = Database(dsn)
        writing = Writing(dsn)
        writing.start()
        for number in range(KILLS):
            before = collected(database)
            with collecting(dsn, folder):
                until(lambda: collected(database) > before + 7 * number, "something is collected")  # noqa: B023
                if number % 3 == 1:
                    server.restart("immediate")
        writing.stop.set()
        writing.join(ENOUGH_S)
        with collecting(dsn, folder):
            until(lambda: waiting(database) == 0, "everything is collected")
        database.close()
    seen = AuditStore(folder).query(SEEN, limit=1_000_000).rows
    assert {times for _, times in seen} == {1}
    steps = {step for step, _ in seen}
    assert writing.sure <= steps <= writing.sure | writing.doubtful
    assert len(writing.sure) > 100
    for _, many, different, highest in AuditStore(folder).query(NUMBERS).rows:
        assert many == different == highest
    assert not [f for f in verify_record(folder).all_findings if f.grade == "damage"]

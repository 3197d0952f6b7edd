"""What a reservation and its settlement cost on PostgreSQL, in the database and from a chunk.

    uv run python benchmarks/cluster_spend.py [--rounds 3] [--seconds 2]

A tree of three levels (organisation, run, agent), with limits on the lower two; the server is one
of its own, on a disk, and syncs. CPU is that of this process and of all of the server's together.
The cases take turns in shuffled order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from uuid import uuid4

import psycopg
from _bench import interleaved, keep, median, parser, table
from sashizu_budget.ledger import Ledger
from sashizu_cluster.database import Database
from sashizu_cluster.outbox import Outbox
from sashizu_cluster.schema import set_up
from sashizu_cluster.spending import SharedHold, SharedSpend
from sashizu_cluster.testing import TemporaryPostgres, temporary_postgres
from sashizu_core.events import Event
from sashizu_core.protocols import BudgetNode, Busy, Refused
from sashizu_core.types import Amount, Limits

ASKED, BILLED = Amount(1000, 5000, 1), Amount(400, 2000, 1)
LIMITS = Limits(tokens=10**12, nusd=10**15)
TICKS = os.sysconf("SC_CLK_TCK")
INTENT = Event("model.requested", {"step": 1, "model": "m", "run_id": str(uuid4())})
OUTCOME = Event("model.answered", {"step": 1, "model": "m", "tokens": 400})


class Place:
    """A tree, and what reaches it."""

    def __init__(self, server: TemporaryPostgres) -> None:
        self.server = server
        dsn = server.dsn(server.create_database())
        set_up(dsn)
        self.database = Database(dsn)
        self.spend = SharedSpend(self.database, "worker")
        run = self.spend.open(str(uuid4()), "run", LIMITS)
        self.agent = self.spend.open(str(uuid4()), "agent", LIMITS, parent=run)
        self.ledger = Ledger()
        self.chunk = self.ledger.drawn_from(self.spend.source(self.agent))
        self.outbox = Outbox(self.database, "host", "worker")
        self.step = psycopg.connect(dsn)

    def close(self) -> None:
        self.ledger.close()
        self.step.close()
        self.database.close()


def from_chunk(node: BudgetNode) -> None:
    hold = node.reserve(ASKED)
    assert not isinstance(hold, Busy | Refused)
    hold.settle(BILLED)


def alone(spend: SharedSpend, agent: str) -> None:
    hold = spend.reserve(str(uuid4()), agent, ASKED)
    assert isinstance(hold, SharedHold)
    hold.settle(BILLED)


def whole_step(place: Place) -> None:
    """Reservation with the intent, settlement with the outcome: two transactions."""
    step = place.step
    with place.outbox.within(step):
        hold = place.spend.reserve(str(uuid4()), place.agent, ASKED, connection=step)
        assert isinstance(hold, SharedHold)
        place.outbox.write([INTENT])
        step.commit()
    with place.outbox.within(step):
        hold.settle(BILLED, connection=step)
        place.outbox.write([OUTCOME])
        step.commit()


def chunked_step(place: Place) -> None:
    """The same, with the reservation from a chunk."""
    hold = place.chunk.reserve(ASKED)
    assert not isinstance(hold, Busy | Refused)
    place.outbox.write([INTENT])
    hold.settle(BILLED)
    place.outbox.write([OUTCOME])


def served(server: TemporaryPostgres) -> float:
    """Seconds of CPU of all of the server's processes, those that ended included."""
    postmaster = (server.folder / "data" / "postmaster.pid").read_text().split()[0]
    ticks = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if entry.name == postmaster:
            ticks += sum(map(int, fields[11:15]))
        elif fields[1] == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return ticks / TICKS


def calls(server: TemporaryPostgres, call: Callable[[], None], seconds: float) -> dict[str, float]:
    """How many there are in a second, and microseconds of CPU for each."""
    made, begun, used, theirs = 0, time.perf_counter(), time.process_time(), served(server)
    while time.perf_counter() - begun < seconds:
        call()
        made += 1
    wall = time.perf_counter() - begun
    here = time.process_time() - used
    there = served(server) - theirs
    return {
        "a second": made / wall,
        "here": here / made * 1e6,
        "server": there / made * 1e6,
        "both": (here + there) / made * 1e6,
    }


@contextmanager
def place() -> Iterator[Place]:
    with temporary_postgres(fsync=True) as server:
        found = Place(server)
        try:
            yield found
        finally:
            found.close()


def main() -> None:
    flags = parser(__doc__, rounds=3)
    flags.add_argument("--seconds", type=float, default=2.0)
    asked = flags.parse_args()
    with place() as at:
        acts: dict[str, Callable[[], None]] = {
            "reserve and settle, from a chunk": partial(from_chunk, at.chunk),
            "reserve and settle, in the database": partial(alone, at.spend, at.agent),
            "a step with two events, from a chunk": partial(chunked_step, at),
            "a step with two events, in its transactions": partial(whole_step, at),
        }
        cases = {name: partial(calls, at.server, act, asked.seconds) for name, act in acts.items()}
        rounds = interleaved(cases, asked.rounds)
    columns = ("a second", "here", "server", "both")
    table(
        "three levels of PostgreSQL; microseconds of CPU",
        ("what", *columns),
        [
            (name, *(round(median(samples, column), 1) for column in columns))
            for name, samples in rounds.items()
        ],
    )
    keep(asked.json, rounds)


if __name__ == "__main__":
    main()

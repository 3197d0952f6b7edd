"""What a simulated cluster is made of: its costs, its shape, root rows, purses and collectors.

Money is counted in tokens, as whole numbers. Times are seconds.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

from _queueing import Calendar, Lock


@dataclass(frozen=True, slots=True)
class Costs:
    """What things cost, in seconds: as `cluster_costs.py` measures it.

    `worker_step` is CPU of a worker's process for a step, `database_step` that of PostgreSQL, with
    the step's rows of the outbox. `database_chunk` is CPU of PostgreSQL for one chunk,
    `database_row` for collecting one row, `collector_row` that of the collector. `flush` is how
    long a sync of PostgreSQL's disk takes. `rows` are rows of the outbox for a step.
    """

    worker_step: float
    database_step: float
    database_chunk: float
    database_row: float
    collector_row: float
    flush: float
    rows: int

    @classmethod
    def read(cls, file: Path) -> Costs:
        found = json.loads(file.read_text("utf-8"))
        return cls(**{one.name: found[one.name] for one in fields(cls)})


@dataclass(frozen=True, slots=True)
class Shape:
    """What is simulated.

    `steps` is how many an agent makes, 0 for no end. `think` is how long a model takes on average.
    `cores` are those of a PostgreSQL server, `roots` how many rows the limit is divided among.
    `chunk` is how many worst cases a worker draws at once, `share` the part of what is left that it
    draws where that is more. A call is held at `worst` and billed `billed` on
    average, never above. `kills` is how many workers die, `takeover` how long until their agents go
    on, `retry` how long a worker waits that found too little left. `drawn` are the calls for which
    workers have drawn before they begin, so that what happens soon is what happens later.
    """

    workers: int
    agents: int
    steps: int = 0
    think: float = 60.0
    worker_cores: int = 1
    databases: int = 1
    cores: int = 16
    roots: int = 1
    chunk: int = 64
    share: float = 0.0
    worst: int = 1000
    billed: int = 600
    limit: int = 10**15
    collectors: int = 0
    batch: int = 500
    kills: int = 0
    takeover: float = 10.0
    retry: float = 0.25
    drawn: int = 0


@dataclass(slots=True)
class Root:
    """One row of the ledger: `spent + held` never gets above `limit`."""

    limit: int
    lock: Lock
    spent: int = 0
    held: int = 0
    most: int = 0

    @property
    def room(self) -> int:
        return self.limit - self.spent - self.held

    def change(self, *, spent: int, held: int) -> None:
        self.spent += spent
        self.held += held
        self.most = max(self.most, self.spent + self.held)


@dataclass(slots=True)
class Purse:
    """What a worker has drawn. `free + holds + used` is what it owes the roots, one by one."""

    worker: int
    free: int = 0
    holds: int = 0
    used: int = 0
    at_work: int = 0
    life: int = 0
    drawing: bool = False
    waiting: deque[Call] = field(default_factory=deque)
    owed: dict[int, int] = field(default_factory=dict)


class Call(NamedTuple):
    """An agent's step in one life of its worker."""

    agent: int
    life: int
    since: float = 0.0


class Draw(NamedTuple):
    """A worker that asks one root, the `tried`th of them, for `need` at least."""

    purse: Purse
    life: int
    root: int
    tried: int


class Collector:
    """Moves rows of the outbox of some workers, in batches, one after the other."""

    def __init__(self, calendar: Calendar, batch: int, seconds: float) -> None:
        self.left = self.moved = 0
        self._calendar, self._batch, self._seconds = calendar, batch, seconds
        self._at_work = False

    def add(self, rows: int) -> None:
        self.left += rows
        if not self._at_work:
            self._begin()

    def _begin(self) -> None:
        batch = min(self.left, self._batch)
        self._at_work = batch > 0
        if batch:
            self._calendar.after(batch * self._seconds, self._end, batch)

    def _end(self, batch: int) -> None:
        self.left -= batch
        self.moved += batch
        self._begin()

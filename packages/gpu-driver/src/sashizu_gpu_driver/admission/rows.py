"""The rows of `admission.sqlite`: who was promised what, who uses it, and who waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Literal

from sashizu_core.processes import Owner

from sashizu_gpu_driver.admission.asked import Ask

__all__ = ["SCHEMA", "Place", "State", "Waiting", "at_most", "places", "sweep", "waiting"]

State = Literal["loading", "ready", "leaving"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS places (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, name TEXT NOT NULL,
  device TEXT NOT NULL, need INTEGER NOT NULL CHECK (need >= 0), parallel INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('loading', 'ready', 'leaving')),
  pid INTEGER NOT NULL, started TEXT NOT NULL, server INTEGER,
  since REAL NOT NULL, evicted INTEGER NOT NULL DEFAULT 0, seen INTEGER,
  alone INTEGER NOT NULL DEFAULT 0, loaded REAL,
  memory TEXT NOT NULL DEFAULT '', beat REAL NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX IF NOT EXISTS one_load ON places (key) WHERE state <> 'leaving';
CREATE TABLE IF NOT EXISTS uses (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  place INTEGER NOT NULL REFERENCES places (id) ON DELETE CASCADE,
  pid INTEGER NOT NULL, started TEXT NOT NULL,
  agent TEXT NOT NULL DEFAULT '', beat REAL NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS uses_of ON uses (place);
CREATE TABLE IF NOT EXISTS waiting (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, name TEXT NOT NULL,
  need INTEGER NOT NULL, parallel INTEGER NOT NULL, rank INTEGER NOT NULL, alone INTEGER NOT NULL,
  since REAL NOT NULL,
  pid INTEGER NOT NULL, started TEXT NOT NULL,
  kind TEXT NOT NULL DEFAULT 'gpu', first INTEGER NOT NULL DEFAULT 0,
  asked REAL NOT NULL DEFAULT 0, agent TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS estimates (key TEXT PRIMARY KEY, need INTEGER NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Place:
    """One load. `since` is when it was given, became idle or began to leave, in seconds.

    `keeper` is the process that it lives and dies with, `server` the number of the one that holds
    the memory; `loaded` is when the model first answered; `seen` is the free memory that was
    reported when it began to leave, in bytes. `pool` is what the memory is called that it is in;
    `beat` is when its keeper last said that it is there.
    """

    number: int
    key: str
    name: str
    device: str
    need: int
    parallel: int
    state: State
    keeper: Owner
    server: int | None
    since: float
    evicted: bool
    seen: int | None
    alone: bool
    loaded: float | None
    pool: str
    beat: float
    uses: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """One who waits, since when (seconds), and for what.

    `first` is what it asked for before what was learned, in bytes; `asked` is when it asked last.
    """

    number: int
    ask: Ask
    since: float
    owner: Owner
    first: int
    asked: float


def places(db: sqlite3.Connection) -> list[Place]:
    """Every load, in the order in which they were given."""
    rows = db.execute(
        "SELECT id, key, name, device, need, parallel, state, pid, started, server, since, evicted,"
        " seen, alone, loaded, memory, beat,"
        " (SELECT count(*) FROM uses WHERE place = places.id) FROM places ORDER BY id"
    )
    return [_place(row) for row in rows]


def _place(row: tuple[Any, ...]) -> Place:
    number, key, name, device, need, parallel, state, pid, started, *rest = row
    server, since, evicted, seen, alone, loaded, memory, beat, uses = rest
    keeper = Owner(pid, started)
    return Place(
        *(number, key, name, device, need, parallel, state, keeper, server, since, bool(evicted)),
        *(seen, bool(alone), loaded, memory or device, beat, uses),
    )


def waiting(db: sqlite3.Connection) -> list[Waiting]:
    """Everyone who waits, in the order in which they are served."""
    rows = db.execute(
        "SELECT id, key, need, name, parallel, rank, alone, since, pid, started, kind, first,"
        " asked, agent FROM waiting ORDER BY rank, id"
    )
    return [_waiting(row) for row in rows]


def _waiting(row: tuple[Any, ...]) -> Waiting:
    number, key, need, name, parallel, rank, alone, since, pid, started, *rest = row
    kind, first, asked, agent = rest
    ask = Ask(key, need, name, parallel, rank, bool(alone), kind, agent)
    return Waiting(number, ask, since, Owner(pid, started), first, asked)


def at_most(db: sqlite3.Connection, per_agent: int | None) -> Collection[str]:
    """The names of agents that have as many calls at work as they may."""
    if per_agent is None:
        return ()
    rows = db.execute(
        "SELECT agent FROM uses WHERE agent <> '' GROUP BY agent HAVING count(*) >= ?", (per_agent,)
    )
    return {row[0] for row in rows}


def sweep(
    db: sqlite3.Connection,
    ended: Callable[[Owner], bool | None],
    now: float | None = None,
    lease_s: float = 0.0,
) -> None:
    """Take away what belongs to processes that have ended, but for what is leaving anyway.

    Of processes of which nobody can tell that, what they have not spoken of for `lease_s`; nothing
    where `now` is not given.
    """
    for table, (which, beat) in _OWNED.items():
        of = f"FROM {table} WHERE {which}"
        found = db.execute(f"SELECT DISTINCT pid, started {of}").fetchall()
        told = {row: ended(Owner(*row)) for row in found}
        mine = f"{of} AND pid = ? AND started = ?"
        db.executemany(f"DELETE {mine}", [row for row, gone in told.items() if gone])
        if now is None:
            continue
        # The clock begins anew with each boot, so what is far ahead is from before.
        db.executemany(
            f"DELETE {mine} AND abs(? - {beat}) >= ?",
            [(*row, now, lease_s) for row, gone in told.items() if gone is None],
        )


_OWNED = {
    "uses": ("true", "beat"),
    "waiting": ("true", "asked"),
    "places": ("state <> 'leaving'", "beat"),
}

"""The rows of `spend.sqlite`: the one authority over shares that several processes draw on.

A lease is a row with limits. A process that redeems it has a chunk: what it drew from the row and
has not booked as spent or given back. `held` of a row is the sum of its chunks, and
`spent + held <= limit` is checked by the database itself with every change. Every change is one
transaction that is on disk before anybody acts on it, and leaves a line in `movement`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakSet

from sashizu_core.errors import SashizuError, SpawnRefused, UsageError
from sashizu_core.types import UNITS

from sashizu_budget.processes import Owner, is_gone, this_process
from sashizu_budget.units import Four

__all__ = ["LeaseRow", "Shortage", "SpendStore"]

BUSY_S = 10.0
"""How long a transaction waits for another process, in seconds."""

KEPT_S = 30 * 86_400
"""How long rows are kept after they ended, in seconds."""

SHARE = 16
"""What is drawn beyond what is needed: one part in so many of what is left."""

VERSION = 1

_HELD = [f"held_{unit}" for unit in UNITS]
_SPENT = [f"spent_{unit}" for unit in UNITS]
_LIMIT = [f"limit_{unit}" for unit in UNITS]
_OVER = [f"over_{unit}" for unit in UNITS]

_SCHEMA = f"""
CREATE TABLE lease (
  id TEXT PRIMARY KEY NOT NULL CHECK (length(id) = 32),
  parent TEXT,
  name TEXT NOT NULL,
  giver_pid INTEGER NOT NULL,
  giver_started TEXT NOT NULL,
  depth INTEGER NOT NULL CHECK (depth >= 0),
  expires_ns INTEGER,
  terms TEXT NOT NULL,
  bounds TEXT NOT NULL,
  ended_ns INTEGER,
  {", ".join(f"{column} INTEGER" for column in _LIMIT)},
  {", ".join(f"{column} INTEGER NOT NULL DEFAULT 0" for column in [*_HELD, *_SPENT, *_OVER])},
  {
    ", ".join(
        f"CHECK (held_{u} >= 0 AND spent_{u} >= 0 AND over_{u} >= 0 AND "
        f"(limit_{u} IS NULL OR spent_{u} + held_{u} <= limit_{u} + over_{u}))"
        for u in UNITS
    )
}
) STRICT;
CREATE INDEX lease_parent ON lease (parent);
CREATE TABLE chunk (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  lease TEXT NOT NULL REFERENCES lease (id) ON DELETE CASCADE,
  pid INTEGER NOT NULL,
  started TEXT NOT NULL,
  {", ".join(f"{column} INTEGER NOT NULL DEFAULT 0 CHECK ({column} >= 0)" for column in _HELD)}
) STRICT;
CREATE INDEX chunk_lease ON chunk (lease);
CREATE TABLE movement (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ns INTEGER NOT NULL,
  lease TEXT NOT NULL REFERENCES lease (id) ON DELETE CASCADE,
  chunk INTEGER,
  kind TEXT NOT NULL,
  amount TEXT NOT NULL,
  held TEXT NOT NULL,
  spent TEXT NOT NULL
) STRICT;
CREATE INDEX movement_lease ON movement (lease);
PRAGMA user_version = {VERSION};
"""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease as its row says it.

    Limits of None bound nothing; `bounds` are those that are not counted, as JSON. `over` is by how
    much bills exceeded what was drawn for them.
    """

    lease_id: str
    parent: str | None
    name: str
    giver: Owner
    depth: int
    expires_ns: int | None
    terms: str
    ended: bool
    limits: tuple[int | None, ...]
    bounds: str
    held: Four
    spent: Four
    over: Four

    def left(self, unit: int) -> int | None:
        """What can be drawn now; None without a limit."""
        limit = self.limits[unit]
        if limit is None:
            return None
        return 0 if self.ended else max(0, limit - self.held[unit] - self.spent[unit])


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why an amount cannot be drawn: the unit, what is left of it, whether waiting is of use."""

    unit: int
    left: int
    final: bool
    ended: bool = False


_stores: WeakSet[SpendStore] = WeakSet()
_abandoned: list[object] = []


def _forget_after_fork() -> None:
    for store in _stores:
        store.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


class SpendStore:
    """The file; opened with the first use, by every process for itself. Thread-safe.

    `now_ns` is the wall clock, which all processes of a machine share.
    """

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = path
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        _stores.add(self)

    # --- giving -----------------------------------------------------------------------------------

    def give(
        self,
        lease_id: str,
        name: str,
        limits: Sequence[int | None],
        *,
        parent: str | None,
        depth: int,
        expires_ns: int | None,
        terms: str,
        bounds: str = "{}",
    ) -> LeaseRow:
        """Make a row. Below another lease, depth and expiry are cut to what that one allows.

        Raises:
            SpawnRefused: the lease above allows no further level.
            UsageError: the lease above has ended.
        """
        giver = this_process()
        with self._change() as db:
            if parent is not None:
                above = self._open_row(db, parent)
                if above.depth < 1:
                    raise SpawnRefused(
                        "no process is started: its lease may be passed on no further",
                        limit="depth",
                        allowed=0,
                    )
                depth = min(depth, above.depth - 1)
                ends = [ns for ns in (expires_ns, above.expires_ns) if ns is not None]
                expires_ns = min(ends, default=None)
            db.execute(
                f"INSERT INTO lease (id, parent, name, giver_pid, giver_started, depth, "  # noqa: S608 - names of columns
                f"expires_ns, terms, bounds, {', '.join(_LIMIT)}) "
                "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (
                    *(lease_id, parent, name, giver.pid, giver.started, depth, expires_ns, terms),
                    bounds,
                    *limits,
                ),
            )
            share = _as_four([limit or 0 for limit in limits])
            self._note(db, lease_id, None, "given", share)
            return self._row(db, lease_id)

    def settle(self, lease_id: str) -> LeaseRow:
        """End a lease and all below it; what is held of them is charged in full."""
        with self._change() as db:
            self._end(db, lease_id, "settled")
            return self._row(db, lease_id)

    # --- drawing ----------------------------------------------------------------------------------

    def redeem(self, lease_id: str) -> tuple[LeaseRow, int]:
        """Make a chunk for this process: the row, and the chunk's number.

        Raises:
            UsageError: there is no such lease, it has ended, or who gave it is gone.
        """
        owner = this_process()
        with self._change() as db:
            row = self._open_row(db, lease_id)
            if is_gone(row.giver):
                raise UsageError(
                    "the lease is of no use any more: the process that gave it is gone"
                )
            self._reap(db, lease_id)
            cursor = db.execute(
                "INSERT INTO chunk (lease, pid, started) VALUES (?,?,?)",
                (lease_id, owner.pid, owner.started),
            )
            chunk = int(cursor.lastrowid or 0)
            self._note(db, lease_id, chunk, "redeemed", (0, 0, 0, 0))
            return self._row(db, lease_id), chunk

    def draw(
        self, lease_id: str, chunk: int, spent: Four, need: Four, asked: Four
    ) -> tuple[Four, Four] | Shortage:
        """Book what was spent, and draw what is needed and a little more, or nothing.

        `asked` is the whole amount that has to fit, `need` what is missing for it in this process.
        Returns what was drawn, and the part of it that was not needed.
        """
        with self._change() as db:
            if not self._book(db, lease_id, chunk, spent, (0, 0, 0, 0)):
                return Shortage(_first(asked), 0, final=True, ended=True)
            self._expire(db, lease_id)
            short = _short(self._row(db, lease_id), need, asked)
            if short is not None and not short.ended and self._reap(db, lease_id):
                short = _short(self._row(db, lease_id), need, asked)
            if short is not None:
                return short
            row = self._row(db, lease_id)
            spare = tuple(
                min(left - wanted, left // SHARE) if left is not None and wanted else 0
                for wanted, left in ((need[i], row.left(i)) for i in range(len(UNITS)))
            )
            drawn = _sum(need, spare)
            self._hold(db, lease_id, chunk, drawn)
            self._note(db, lease_id, chunk, "drawn", drawn)
            return drawn, _as_four(spare)

    def book(self, lease_id: str, chunk: int, spent: Four, back: Four) -> bool:
        """Book what was spent and give back what is not needed; False if the chunk is gone.

        A chunk that is gone was charged in full. What exceeds the chunk is booked all the same, and
        ends the lease where it is limited.
        """
        with self._change() as db:
            return self._book(db, lease_id, chunk, spent, back)

    def leave(self, lease_id: str, chunk: int, spent: Four) -> None:
        """Book what was spent, give back the rest, and be no owner any more."""
        with self._change() as db:
            held = _four_of(db, f"SELECT {', '.join(_HELD)} FROM chunk WHERE id = ?", chunk)  # noqa: S608
            if held is None:
                return
            back = _as_four(tuple(max(0, h - s) for h, s in zip(held, spent, strict=True)))
            self._book(db, lease_id, chunk, spent, back)
            db.execute("DELETE FROM chunk WHERE id = ?", (chunk,))
            self._note(db, lease_id, chunk, "left", back)

    def row(self, lease_id: str) -> LeaseRow:
        """A lease as it is now.

        Raises:
            UsageError: there is none.
        """
        with self._change() as db:
            self._expire(db, lease_id)
            return self._row(db, lease_id)

    # --- inside a transaction ---------------------------------------------------------------------

    def _open_row(self, db: sqlite3.Connection, lease_id: str) -> LeaseRow:
        self._row(db, lease_id)
        self._expire(db, lease_id)
        row = self._row(db, lease_id)
        if row.ended:
            raise UsageError("the lease has ended: ask who started this process for a new one")
        return row

    def _row(self, db: sqlite3.Connection, lease_id: str) -> LeaseRow:
        columns = ", ".join([*_LIMIT, *_HELD, *_SPENT, *_OVER])
        found = db.execute(
            "SELECT parent, name, giver_pid, giver_started, depth, expires_ns, terms, "  # noqa: S608
            f"ended_ns, bounds, {columns} FROM lease WHERE id = ?",
            (lease_id,),
        ).fetchone()
        if found is None:
            raise UsageError("there is no such lease: it never was, or ended long ago")
        parent, name, pid, started, depth, expires_ns, terms, ended_ns, bounds = found[:9]
        return LeaseRow(
            lease_id,
            parent,
            name,
            Owner(pid, started),
            depth,
            expires_ns,
            terms,
            ended_ns is not None,
            tuple(found[9:13]),
            bounds,
            _as_four(found[13:17]),
            _as_four(found[17:21]),
            _as_four(found[21:25]),
        )

    def _hold(self, db: sqlite3.Connection, lease_id: str, chunk: int, more: Four) -> None:
        changes = ", ".join(f"{column} = {column} + ?" for column in _HELD)
        db.execute(f"UPDATE lease SET {changes} WHERE id = ?", (*more, lease_id))  # noqa: S608
        db.execute(f"UPDATE chunk SET {changes} WHERE id = ?", (*more, chunk))  # noqa: S608

    def _book(
        self, db: sqlite3.Connection, lease_id: str, chunk: int, spent: Four, back: Four
    ) -> bool:
        held = _four_of(db, f"SELECT {', '.join(_HELD)} FROM chunk WHERE id = ?", chunk)  # noqa: S608
        if held is None:
            return False
        if not any(spent) and not any(back):
            return True
        row = self._row(db, lease_id)
        freed = _as_four(tuple(min(h, s + b) for h, s, b in zip(held, spent, back, strict=True)))
        over = _as_four(
            tuple(
                max(0, s - h) if row.limits[i] is not None else 0
                for i, (s, h) in enumerate(zip(spent, held, strict=True))
            )
        )
        changes = ", ".join(
            f"held_{u} = held_{u} - ?, spent_{u} = spent_{u} + ?, over_{u} = over_{u} + ?"
            for u in UNITS
        )
        values = [value for three in zip(freed, spent, over, strict=True) for value in three]
        db.execute(f"UPDATE lease SET {changes} WHERE id = ?", (*values, lease_id))  # noqa: S608
        less = ", ".join(f"{column} = {column} - ?" for column in _HELD)
        db.execute(f"UPDATE chunk SET {less} WHERE id = ?", (*freed, chunk))  # noqa: S608
        self._note(db, lease_id, chunk, "booked", spent)
        if any(over):
            self._end(db, lease_id, "overrun")
        return True

    def _charge(self, db: sqlite3.Connection, lease_id: str, chunk: int, kind: str) -> None:
        """Book all that a chunk holds as spent, and forget the chunk."""
        held = _four_of(db, f"SELECT {', '.join(_HELD)} FROM chunk WHERE id = ?", chunk)  # noqa: S608
        if held is None:
            return
        changes = ", ".join(f"held_{u} = held_{u} - ?, spent_{u} = spent_{u} + ?" for u in UNITS)
        values = [value for quantity in held for value in (quantity, quantity)]
        db.execute(f"UPDATE lease SET {changes} WHERE id = ?", (*values, lease_id))  # noqa: S608
        db.execute("DELETE FROM chunk WHERE id = ?", (chunk,))
        self._note(db, lease_id, chunk, kind, held)

    def _reap(self, db: sqlite3.Connection, lease_id: str) -> bool:
        """Charge the chunks of processes that are gone; whether there were any."""
        dead = [
            chunk
            for chunk, pid, started in db.execute(
                "SELECT id, pid, started FROM chunk WHERE lease = ?", (lease_id,)
            ).fetchall()
            if is_gone(Owner(pid, started))
        ]
        for chunk in dead:
            self._charge(db, lease_id, chunk, "died")
        return bool(dead)

    def _expire(self, db: sqlite3.Connection, lease_id: str) -> None:
        row = self._row(db, lease_id)
        if not row.ended and row.expires_ns is not None and row.expires_ns <= self._now_ns():
            self._end(db, lease_id, "expired")

    def _end(self, db: sqlite3.Connection, lease_id: str, kind: str) -> None:
        """End a lease and all that were given below it."""
        ending = [lease_id]
        while ending:
            current = ending.pop()
            below = db.execute("SELECT id FROM lease WHERE parent = ?", (current,)).fetchall()
            ending += [each for (each,) in below]
            chunks = db.execute("SELECT id FROM chunk WHERE lease = ?", (current,)).fetchall()
            for (chunk,) in chunks:
                self._charge(db, current, chunk, "charged")
            changed = db.execute(
                "UPDATE lease SET ended_ns = ? WHERE id = ? AND ended_ns IS NULL",
                (self._now_ns(), current),
            )
            if changed.rowcount:
                self._note(db, current, None, kind, (0, 0, 0, 0))

    def _note(
        self, db: sqlite3.Connection, lease_id: str, chunk: int | None, kind: str, amount: Four
    ) -> None:
        row = self._row(db, lease_id)
        db.execute(
            "INSERT INTO movement (at_ns, lease, chunk, kind, amount, held, spent) "
            "VALUES (?,?,?,?,?,?,?)",
            (
                self._now_ns(),
                lease_id,
                chunk,
                kind,
                json.dumps(amount),
                json.dumps(row.held),
                json.dumps(row.spent),
            ),
        )

    # --- the file ---------------------------------------------------------------------------------

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it, on disk, or nothing."""
        with self._lock:
            try:
                db = self._connected()
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise SashizuError(
                    f"the leases in {str(self._path)!r} cannot be used: {error}; "
                    "nothing was drawn, so nothing is spent"
                ) from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        self._connection = _opened(self._path, self._now_ns())
        return self._connection

    def forget_after_fork(self) -> None:
        """In a forked child: the parent's connection is not ours to use, nor to close."""
        self._lock = threading.Lock()
        _abandoned.append(self._connection)
        self._connection = None

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None


def _opened(path: Path, now_ns: int) -> sqlite3.Connection:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise SashizuError(
            f"the leases cannot be kept in {str(path)!r}: {(error.strerror or str(error)).lower()}"
        ) from error
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _SCHEMA.split(";\n"):
                db.execute(statement)
        else:
            _check(version)
        db.execute("DELETE FROM lease WHERE ended_ns < ?", (now_ns - KEPT_S * 10**9,))
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _check(version: int) -> None:
    if version != VERSION:
        raise sqlite3.DatabaseError(f"it has version {version}, and {VERSION} is known here")


def _short(row: LeaseRow, need: Four, asked: Four) -> Shortage | None:
    """Why what is needed cannot be drawn; final where it would not fit if nothing were held."""
    if row.ended:
        return Shortage(_first(asked), 0, final=True, ended=True)
    busy: Shortage | None = None
    for unit, wanted in enumerate(need):
        limit, left = row.limits[unit], row.left(unit)
        if limit is None or left is None or wanted <= left:
            continue
        short = Shortage(unit, left, final=asked[unit] > limit - row.spent[unit])
        if short.final:
            return short
        busy = busy or short
    return busy


def _four_of(db: sqlite3.Connection, query: str, key: object) -> Four | None:
    found = db.execute(query, (key,)).fetchone()
    return None if found is None else _as_four(found)


def _as_four(values: Sequence[int]) -> Four:
    tokens, nusd, requests, agents = values
    return tokens, nusd, requests, agents


def _sum(one: Sequence[int], other: Sequence[int]) -> Four:
    return _as_four(tuple(a + b for a, b in zip(one, other, strict=True)))


def _first(asked: Four) -> int:
    return next((unit for unit, wanted in enumerate(asked) if wanted), 0)

"""The rows of leases and chunks, inside one transaction."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sashizu_core.drawing import Shortage
from sashizu_core.errors import UsageError
from sashizu_core.processes import Owner, is_gone
from sashizu_core.types import UNITS

from sashizu_budget.spend_file import HELD, LIMIT, OVER, SPENT
from sashizu_budget.units import Four, first_asked

__all__ = ["LeaseRow", "Rows", "as_four", "shortage"]


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


class Rows:
    """What can be done to rows; all of it together, or nothing, is what the transaction does."""

    def __init__(self, db: sqlite3.Connection, now_ns: Callable[[], int]) -> None:
        self._db = db
        self._now_ns = now_ns

    def add_lease(
        self, who: Sequence[object], bounds: Sequence[object], limits: Sequence[int | None]
    ) -> None:
        """Add a lease: id, parent, name, giver; depth, expiry, terms, bounds; limits."""
        self._db.execute(
            "INSERT INTO lease (id, parent, name, giver_pid, giver_started, depth, expires_ns, "  # noqa: S608 - names of columns
            f"terms, bounds, {', '.join(LIMIT)}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (*who, *bounds, *limits),
        )

    def add_chunk(self, lease_id: str, owner: Owner) -> int:
        """Add an empty chunk of a process; returns its number."""
        cursor = self._db.execute(
            "INSERT INTO chunk (lease, pid, started) VALUES (?,?,?)",
            (lease_id, owner.pid, owner.started),
        )
        return int(cursor.lastrowid or 0)

    def held_by(self, chunk: int) -> Four | None:
        """What a chunk holds; None if it is gone."""
        found = self._db.execute(
            f"SELECT {', '.join(HELD)} FROM chunk WHERE id = ?",  # noqa: S608 - names of columns
            (chunk,),
        ).fetchone()
        return None if found is None else as_four(found)

    def drop_chunk(self, chunk: int) -> None:
        """Forget a chunk."""
        self._db.execute("DELETE FROM chunk WHERE id = ?", (chunk,))

    def open_row(self, lease_id: str) -> LeaseRow:
        """A lease that can be drawn on.

        Raises:
            UsageError: there is none, or it has ended.
        """
        self.row(lease_id)
        self.expire(lease_id)
        row = self.row(lease_id)
        if row.ended:
            raise UsageError("the lease has ended: ask who started this process for a new one")
        return row

    def row(self, lease_id: str) -> LeaseRow:
        """A lease.

        Raises:
            UsageError: there is none.
        """
        columns = ", ".join([*LIMIT, *HELD, *SPENT, *OVER])
        found = self._db.execute(
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
            as_four(found[13:17]),
            as_four(found[17:21]),
            as_four(found[21:25]),
        )

    def hold(self, lease_id: str, chunk: int, more: Four) -> None:
        """Let a chunk hold more of its lease."""
        changes = ", ".join(f"{column} = {column} + ?" for column in HELD)
        self._db.execute(f"UPDATE lease SET {changes} WHERE id = ?", (*more, lease_id))  # noqa: S608
        self._db.execute(f"UPDATE chunk SET {changes} WHERE id = ?", (*more, chunk))  # noqa: S608

    def book(self, lease_id: str, chunk: int, spent: Four, back: Four) -> bool:
        """Book what was spent of a chunk and take some back; False if it is gone."""
        held = self.held_by(chunk)
        if held is None:
            return False
        if not any(spent) and not any(back):
            return True
        row = self.row(lease_id)
        freed = as_four(tuple(min(h, s + b) for h, s, b in zip(held, spent, back, strict=True)))
        over = as_four(
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
        self._db.execute(f"UPDATE lease SET {changes} WHERE id = ?", (*values, lease_id))  # noqa: S608
        less = ", ".join(f"{column} = {column} - ?" for column in HELD)
        self._db.execute(f"UPDATE chunk SET {less} WHERE id = ?", (*freed, chunk))  # noqa: S608
        self.note(lease_id, chunk, "booked", spent)
        if any(over):
            self._close(lease_id, "overrun")
        return True

    def charge(self, lease_id: str, chunk: int, kind: str) -> None:
        """Book all that a chunk holds as spent, and forget the chunk."""
        held = self.held_by(chunk)
        if held is None:
            return
        changes = ", ".join(f"held_{u} = held_{u} - ?, spent_{u} = spent_{u} + ?" for u in UNITS)
        values = [value for quantity in held for value in (quantity, quantity)]
        self._db.execute(f"UPDATE lease SET {changes} WHERE id = ?", (*values, lease_id))  # noqa: S608
        self._db.execute("DELETE FROM chunk WHERE id = ?", (chunk,))
        self.note(lease_id, chunk, kind, held)

    def reap(self, lease_id: str) -> bool:
        """Charge the chunks of processes that are gone; whether there were any."""
        dead = [
            chunk
            for chunk, pid, started in self._db.execute(
                "SELECT id, pid, started FROM chunk WHERE lease = ?", (lease_id,)
            ).fetchall()
            if is_gone(Owner(pid, started))
        ]
        for chunk in dead:
            self.charge(lease_id, chunk, "died")
        return bool(dead)

    def expire(self, lease_id: str) -> None:
        """End a lease whose time is over."""
        row = self.row(lease_id)
        if not row.ended and row.expires_ns is not None and row.expires_ns <= self._now_ns():
            self.end(lease_id, "expired")

    def end(self, lease_id: str, kind: str) -> None:
        """End a lease and all that were given below it."""
        ending = [lease_id]
        while ending:
            current = ending.pop()
            below = self._db.execute("SELECT id FROM lease WHERE parent = ?", (current,)).fetchall()
            ending += [each for (each,) in below]
            chunks = self._db.execute("SELECT id FROM chunk WHERE lease = ?", (current,)).fetchall()
            for (chunk,) in chunks:
                self.charge(current, chunk, "charged")
            self._close(current, kind)

    def _close(self, lease_id: str, kind: str) -> None:
        """Let nobody draw on a lease any more; what is drawn can still be booked."""
        changed = self._db.execute(
            "UPDATE lease SET ended_ns = ? WHERE id = ? AND ended_ns IS NULL",
            (self._now_ns(), lease_id),
        )
        if changed.rowcount:
            self.note(lease_id, None, kind, (0, 0, 0, 0))

    def note(self, lease_id: str, chunk: int | None, kind: str, amount: Four) -> None:
        """Leave a line of what was done, and of how the lease stands after it."""
        row = self.row(lease_id)
        self._db.execute(
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


def shortage(row: LeaseRow, need: Four, asked: Four) -> Shortage | None:
    """Why what is needed cannot be drawn; final where it would not fit if nothing were held."""
    if row.ended:
        return Shortage(first_asked(asked), 0, final=True, ended=True)
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


def as_four(values: Sequence[int]) -> Four:
    tokens, nusd, requests, agents = values
    return tokens, nusd, requests, agents

"""The rows of windows and of what processes drew from them, inside one transaction.

A window is a row per local day, per local month and per project. A process that spends has a chunk
for each tree of its budget: what it drew from one row of each kind at once and has neither booked
as spent nor given back. `held` of a row is the sum of the chunks that were drawn from it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sashizu_core.processes import Owner, is_gone

from sashizu_budget.periods import SCOPES, day_of, month_of
from sashizu_budget.spend_file import HELD, LIMIT, SPENT
from sashizu_budget.spend_rows import as_four
from sashizu_budget.units import Four

__all__ = ["Keys", "Stand", "WindowRows"]

Keys = tuple[str, str, str]
"""Which day, month and project."""


@dataclass(frozen=True, slots=True)
class Stand:
    """How a window stands. `scope` is one of `SCOPES`; limits of None bound nothing."""

    scope: str
    key: str
    limits: tuple[int | None, ...]
    held: Four
    spent: Four

    @property
    def name(self) -> str:
        """What people know it by: `day 2026-11-21`."""
        return f"{self.scope} {self.key}"

    @property
    def limited(self) -> bool:
        """Whether it has a limit in any unit."""
        return any(limit is not None for limit in self.limits)

    def left(self, unit: int) -> int | None:
        """What can be drawn now; None without a limit."""
        limit = self.limits[unit]
        return None if limit is None else max(0, limit - self.held[unit] - self.spent[unit])


class WindowRows:
    """What can be done to the rows; all of it together is what the transaction does."""

    def __init__(self, db: sqlite3.Connection, now_ns: int) -> None:
        self._db = db
        self._now_ns = now_ns

    # --- limits and time --------------------------------------------------------------------------

    def any_limit(self) -> bool:
        """Whether any window has a limit, of whatever project."""
        return self._db.execute("SELECT 1 FROM window_limit LIMIT 1").fetchone() is not None

    def set_limits(self, scope: str, project: str, limits: Sequence[int | None]) -> None:
        """Replace the limits of a window; without any, it has none."""
        where = (scope, project if scope == "project" else "")
        self._db.execute("DELETE FROM window_limit WHERE scope = ? AND project = ?", where)
        if any(limit is not None for limit in limits):
            self._db.execute(
                f"INSERT INTO window_limit (scope, project, {', '.join(LIMIT)}) "  # noqa: S608
                "VALUES (?,?,?,?,?,?)",
                (*where, *limits),
            )

    def keys(self, project: str) -> Keys:
        """The windows of now. No day is followed by an earlier one, whatever the clock says."""
        day, latest = day_of(self._now_ns), self._latest_day()
        if day > latest:
            self.follow_clock(day)
        return self._keys(max(day, latest), project)

    def keys_seen(self, project: str) -> Keys:
        """The same, where nothing may be changed."""
        return self._keys(max(day_of(self._now_ns), self._latest_day()), project)

    def _keys(self, day: str, project: str) -> Keys:
        return day, month_of(day), project

    def _latest_day(self) -> str:
        found = self._db.execute("SELECT key FROM window_floor WHERE scope = 'day'").fetchone()
        return str(found[0]) if found is not None else ""

    def follow_clock(self, day: str) -> None:
        """Let windows begin on a day that may be earlier than the latest one was."""
        self._db.execute(
            "INSERT OR REPLACE INTO window_floor (scope, key) VALUES ('day', ?)", (day,)
        )

    # --- windows ----------------------------------------------------------------------------------

    def stands(self, keys: Keys) -> list[Stand]:
        """How the windows stand."""
        return [self._stand(scope, key) for scope, key in zip(SCOPES, keys, strict=True)]

    def _stand(self, scope: str, key: str) -> Stand:
        limits = self._db.execute(
            f"SELECT {', '.join(LIMIT)} FROM window_limit WHERE scope = ? AND project = ?",  # noqa: S608
            (scope, key if scope == "project" else ""),
        ).fetchone()
        row = self._db.execute(
            f"SELECT {', '.join([*HELD, *SPENT])} FROM window WHERE scope = ? AND key = ?",  # noqa: S608
            (scope, key),
        ).fetchone()
        row = row or (0,) * 8
        return Stand(scope, key, limits or (None,) * 4, as_four(row[:4]), as_four(row[4:]))

    def days(self, most: int) -> list[Stand]:
        """The latest days on which anything was spent or held, the latest first."""
        found = self._db.execute(
            "SELECT key FROM window WHERE scope = 'day' ORDER BY key DESC LIMIT ?", (most,)
        ).fetchall()
        return [self._stand("day", key) for (key,) in found]

    def _add(self, keys: Keys, held: Iterable[int], spent: Iterable[int]) -> None:
        changes = ", ".join(f"{column} = {column} + ?" for column in [*HELD, *SPENT])
        values = (*held, *spent)
        for scope, key in zip(SCOPES, keys, strict=True):
            self._db.execute("INSERT OR IGNORE INTO window (scope, key) VALUES (?,?)", (scope, key))
            self._db.execute(
                f"UPDATE window SET {changes} WHERE scope = ? AND key = ?",  # noqa: S608
                (*values, scope, key),
            )

    # --- chunks -----------------------------------------------------------------------------------

    def add_chunk(self, owner: Owner, keys: Keys) -> int:
        """Add an empty chunk of a process; returns its number."""
        cursor = self._db.execute(
            "INSERT INTO window_chunk (pid, started, day, month, project) VALUES (?,?,?,?,?)",
            (owner.pid, owner.started, *keys),
        )
        return int(cursor.lastrowid or 0)

    def chunk(self, chunk: int) -> tuple[Keys, Four] | None:
        """What a chunk was drawn from, and what it holds; None if it is gone."""
        found = self._db.execute(
            f"SELECT day, month, project, {', '.join(HELD)} FROM window_chunk WHERE id = ?",  # noqa: S608
            (chunk,),
        ).fetchone()
        return None if found is None else (tuple(found[:3]), as_four(found[3:]))

    def hold(self, chunk: int, keys: Keys, more: Four) -> None:
        """Let a chunk hold more of the windows it is drawn from."""
        self._add(keys, more, (0, 0, 0, 0))
        changes = ", ".join(f"{column} = {column} + ?" for column in HELD)
        self._db.execute(f"UPDATE window_chunk SET {changes} WHERE id = ?", (*more, chunk))  # noqa: S608

    def move(self, chunk: int, keys: Keys) -> None:
        """Let a chunk hold of other windows what it held of those before."""
        found = self.chunk(chunk)
        if found is None:
            return
        before, held = found
        self._add(before, [-quantity for quantity in held], (0, 0, 0, 0))
        self._add(keys, held, (0, 0, 0, 0))
        columns = ", ".join(f"{column} = ?" for column in ["day", "month", "project"])
        self._db.execute(
            f"UPDATE window_chunk SET {columns} WHERE id = ?",  # noqa: S608 - names of columns
            (*keys, chunk),
        )
        self.note(chunk, "moved", held, keys)

    def book(self, chunk: int, spent: Four, back: Four) -> bool:
        """Book what was spent of a chunk and take some back; False if it is gone."""
        found = self.chunk(chunk)
        if found is None:
            return False
        if not any(spent) and not any(back):
            return True
        keys, held = found
        freed = [min(h, s + b) for h, s, b in zip(held, spent, back, strict=True)]
        self._add(keys, [-quantity for quantity in freed], spent)
        less = ", ".join(f"{column} = {column} - ?" for column in HELD)
        self._db.execute(f"UPDATE window_chunk SET {less} WHERE id = ?", (*freed, chunk))  # noqa: S608
        self.note(chunk, "booked", spent, keys)
        return True

    def charge(self, chunk: int, kind: str) -> None:
        """Book all that a chunk holds as spent, and forget the chunk."""
        found = self.chunk(chunk)
        if found is None:
            return
        keys, held = found
        self._add(keys, [-quantity for quantity in held], held)
        self.drop(chunk)
        self.note(chunk, kind, held, keys)

    def drop(self, chunk: int) -> None:
        """Forget a chunk."""
        self._db.execute("DELETE FROM window_chunk WHERE id = ?", (chunk,))

    def reap(self) -> bool:
        """Charge the chunks of processes that are gone; whether there were any."""
        dead = [
            chunk
            for chunk, pid, started in self._db.execute(
                "SELECT id, pid, started FROM window_chunk"
            ).fetchall()
            if is_gone(Owner(pid, started))
        ]
        for chunk in dead:
            self.charge(chunk, "died")
        return bool(dead)

    def note(self, chunk: int | None, kind: str, amount: Sequence[int | None], keys: Keys) -> None:
        """Leave a line of what was done, and of how the windows stand after it."""
        windows = {
            stand.scope: [stand.key, stand.limits, stand.held, stand.spent]
            for stand in self.stands(keys)
        }
        self._db.execute(
            "INSERT INTO window_movement (at_ns, chunk, kind, amount, windows) VALUES (?,?,?,?,?)",
            (self._now_ns, chunk, kind, json.dumps(amount), json.dumps(windows)),
        )

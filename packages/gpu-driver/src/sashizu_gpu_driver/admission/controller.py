"""Decides which local model is loaded where: one ledger for all processes of a user.

The controller neither starts nor stops anything. Whoever has a place loads the model and says so;
whoever is told to leave unloads it. All times are seconds of one monotonic clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from sashizu_core.processes import Owner, has_ended

from sashizu_gpu_driver.admission import rows
from sashizu_gpu_driver.admission.asked import Answer, Ask, Card, Rules
from sashizu_gpu_driver.admission.deciding import Decision, settle
from sashizu_gpu_driver.admission.learning import correct, learn, learned, measured
from sashizu_gpu_driver.admission.placing import most_for_one
from sashizu_gpu_driver.admission.rows import Place, Waiting

__all__ = ["Controller", "Ledger", "QueueFull"]


class QueueFull(Exception):
    """As many wait as may."""


class Ledger(Protocol):
    """The file that all processes share."""

    def change(self) -> AbstractContextManager[sqlite3.Connection]:
        """One transaction: all of it, on disk, or nothing."""
        ...


class Controller:
    """One process's hand on the ledger.

    `ended` says whether a process has ended, None where it cannot tell.
    """

    def __init__(
        self,
        ledger: Ledger,
        rules: Rules | None = None,
        *,
        ended: Callable[[Owner], bool | None] = has_ended,
    ) -> None:
        self.rules = rules or Rules()
        self._ledger = ledger
        self._ended = ended

    # --- who wants one ----------------------------------------------------------------------------

    def enter(self, ask: Ask, owner: Owner, now: float) -> int:
        """Join the queue; the number to ask `decide` with.

        Raises:
            QueueFull: as many wait as may.
        """
        with self._ledger.change() as db:
            self._sweep(db, now)
            heard = now - self.rules.quiet_s
            waiting = db.execute("SELECT count(*) FROM waiting WHERE asked >= ?", (heard,))
            if waiting.fetchone()[0] >= self.rules.queue:
                raise QueueFull
            entered = db.execute(
                "INSERT INTO waiting (key, name, need, parallel, rank, alone, since, pid, started,"
                " kind, first, asked, agent) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(ask.key, ask.name, learned(db, ask), ask.parallel, ask.rank, ask.alone),
                    *(now, owner.pid, owner.started, ask.kind, ask.need, now, ask.agent),
                ),
            )
            return int(entered.lastrowid or 0)

    def decide(self, number: int, cards: Sequence[Card], now: float) -> Answer:
        """Place one who waits, if that is possible now.

        With `placed` and `joined` it has left the queue and uses the place, until `done`; with
        `placed` it loads the model. With `refused` it has left the queue.
        """
        with self._ledger.change() as db:
            db.execute("UPDATE waiting SET asked = ? WHERE id = ?", (now, number))
            self._sweep(db, now)
            heard = now - self.rules.quiet_s
            queue = [one for one in rows.waiting(db) if one.asked >= heard]
            own = next((one for one in queue if one.number == number), None)
            if own is None:
                return Answer("refused", "it does not wait any more", 0)
            settle(db, cards, now, self.rules)
            correct(db, cards)
            return Decision(db, queue, cards, now, self.rules).about(own)

    def leave(self, number: int) -> None:
        """Wait no longer."""
        with self._ledger.change() as db:
            db.execute("DELETE FROM waiting WHERE id = ?", (number,))

    # --- who has one ------------------------------------------------------------------------------

    def keep(
        self, place: int, keeper: Owner, server: int | None = None, *, now: float = 0.0
    ) -> bool:
        """From now on the place lives and dies with that process; `server` holds the memory.

        Where nobody can tell whether that process is there, it has to ask `may_leave`, or call
        `beat`, more often than every `lease_s` seconds.

        False where the place was given back meanwhile.
        """
        with self._ledger.change() as db:
            kept = db.execute(
                "UPDATE places SET pid = ?, started = ?, server = coalesce(?, server),"
                " beat = max(beat, ?) WHERE id = ?",
                (keeper.pid, keeper.started, server, now, place),
            )
            return bool(kept.rowcount)

    def abandon(self, place: int, owner: Owner) -> None:
        """Whoever was placed loads nothing; what a keeper has is left to that keeper."""
        with self._ledger.change() as db:
            db.execute(
                "DELETE FROM places WHERE id = ? AND state = 'loading' AND pid = ? AND started = ?",
                (place, owner.pid, owner.started),
            )

    def beat(self, owner: Owner, now: float) -> None:
        """That process is there, and keeps what it has."""
        with self._ledger.change() as db:
            for said in (
                "UPDATE uses SET beat = ? WHERE pid = ? AND started = ?",
                "UPDATE places SET beat = ? WHERE pid = ? AND started = ?",
            ):
                db.execute(said, (now, owner.pid, owner.started))

    def loaded(self, place: int, now: float) -> None:
        """The model answers."""
        with self._ledger.change() as db:
            db.execute(
                "UPDATE places SET state = 'ready', since = ?, loaded = ? WHERE id = ?",
                (now, now, place),
            )

    def failed(self, place: int, *, out_of_memory: bool) -> int:
        """It did not load: the place is given back. The bytes that the next attempt asks for."""
        with self._ledger.change() as db:
            row = db.execute("SELECT key, need FROM places WHERE id = ?", (place,)).fetchone()
            if row is None:
                return 0
            key, need = row
            if out_of_memory:
                need = max(int(need * self.rules.grown), need + self.rules.grown_bytes)
                learn(db, key, need)
            db.execute("DELETE FROM places WHERE id = ?", (place,))
            return int(need)

    def measured(self, place: int, used: int) -> None:
        """More was seen in use than was thought: remember it for the next time."""
        with self._ledger.change() as db:
            measured(db, place, used)

    def done(self, place: int, owner: Owner, now: float) -> int:
        """One use less; how many are left."""
        with self._ledger.change() as db:
            self._sweep(db, now)
            db.execute(
                "DELETE FROM uses WHERE id = (SELECT id FROM uses WHERE place = ? AND pid = ?"
                " AND started = ? LIMIT 1)",
                (place, owner.pid, owner.started),
            )
            left = db.execute("SELECT count(*) FROM uses WHERE place = ?", (place,)).fetchone()[0]
            if not left:
                db.execute("UPDATE places SET since = ? WHERE id = ?", (now, place))
            return int(left)

    def may_leave(self, place: int, now: float, kept_s: float) -> bool:
        """Whether the keeper should unload: told to, or unused for `kept_s` seconds.

        Once this is true nobody joins the place any more.
        """
        with self._ledger.change() as db:
            self._sweep(db, now, keeping=place)
            found = next((one for one in rows.places(db) if one.number == place), None)
            if found is None:
                return True
            if found.uses or not (found.evicted or now - found.since >= kept_s):
                return False
            db.execute("UPDATE places SET evicted = 1 WHERE id = ?", (place,))
            return True

    def left(self, place: int, cards: Sequence[Card], now: float) -> None:
        """It was unloaded; its memory counts as taken until the device shows it free."""
        with self._ledger.change() as db:
            row = db.execute("SELECT device FROM places WHERE id = ?", (place,)).fetchone()
            free = next((c.free for c in cards if row is not None and c.device == row[0]), None)
            db.execute(
                "UPDATE places SET state = 'leaving', since = ?, seen = ? WHERE id = ?",
                (now, free, place),
            )

    def gone(self, place: int) -> None:
        """Nothing of it is left."""
        with self._ledger.change() as db:
            db.execute("DELETE FROM places WHERE id = ?", (place,))

    def state(self) -> tuple[list[Place], list[Waiting]]:
        """All loads, and all who wait."""
        with self._ledger.change() as db:
            rows.sweep(db, self._ended)
            return rows.places(db), rows.waiting(db)

    def could_ask_for_more(self, need: int, cards: Sequence[Card]) -> bool:
        """Whether some device has more than that for one model."""
        return any(most_for_one(card, self.rules) > need for card in cards)

    def _sweep(self, db: sqlite3.Connection, now: float, keeping: int = 0) -> None:
        """Take away what is nobody's any more; who keeps a place and asks is there."""
        if keeping:
            due = "UPDATE places SET beat = ? WHERE id = ? AND abs(? - beat) >= ?"
            db.execute(due, (now, keeping, now, self.rules.beat_s))
        rows.sweep(db, self._ended, now, self.rules.lease_s)

"""Decides which local model is loaded where: one ledger for all processes of a user.

The controller neither starts nor stops anything. Whoever has a place loads the model and says so;
whoever is told to leave unloads it. All times are seconds of one monotonic clock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from sashizu_core.processes import Owner, is_gone

from sashizu_gpu_driver.admission import rows
from sashizu_gpu_driver.admission.asked import Answer, Ask, Card, Numbers, Rules
from sashizu_gpu_driver.admission.placing import (
    Idle,
    best_fit,
    could_ever_hold,
    least_to_leave,
    most_for_one,
)
from sashizu_gpu_driver.admission.room import Lease, room_on
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
    """One process's hand on the ledger. `gone` says whether a process has ended."""

    def __init__(
        self,
        ledger: Ledger,
        rules: Rules | None = None,
        *,
        gone: Callable[[Owner], bool] = is_gone,
    ) -> None:
        self._ledger = ledger
        self._rules = rules or Rules()
        self._gone = gone

    # --- who wants one ----------------------------------------------------------------------------

    def enter(self, ask: Ask, owner: Owner, now: float) -> int:
        """Join the queue; the number to ask `decide` with.

        Raises:
            QueueFull: as many wait as may.
        """
        with self._ledger.change() as db:
            rows.sweep(db, self._gone)
            heard = now - self._rules.quiet_s
            waiting = db.execute("SELECT count(*) FROM waiting WHERE asked >= ?", (heard,))
            if waiting.fetchone()[0] >= self._rules.queue:
                raise QueueFull
            entered = db.execute(
                "INSERT INTO waiting (key, name, need, parallel, rank, alone, since, pid, started,"
                " kind, first, asked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(ask.key, ask.name, _learned(db, ask), ask.parallel, ask.rank, ask.alone),
                    *(now, owner.pid, owner.started, ask.kind, ask.need, now),
                ),
            )
            return int(entered.lastrowid or 0)

    def decide(self, number: int, cards: Sequence[Card], now: float) -> Answer:
        """Place one who waits, if that is possible now.

        With `placed` and `joined` it has left the queue and uses the place, until `done`; with
        `placed` it loads the model. With `refused` it has left the queue.
        """
        with self._ledger.change() as db:
            rows.sweep(db, self._gone)
            db.execute("UPDATE waiting SET asked = ? WHERE id = ?", (now, number))
            heard = now - self._rules.quiet_s
            queue = [one for one in rows.waiting(db) if one.asked >= heard]
            own = next((one for one in queue if one.number == number), None)
            if own is None:
                return Answer("refused", "it does not wait any more", 0)
            self._settle(db, cards, now)
            _correct(db, cards)
            return self._decided(db, own, queue, cards, now)

    def leave(self, number: int) -> None:
        """Wait no longer."""
        with self._ledger.change() as db:
            db.execute("DELETE FROM waiting WHERE id = ?", (number,))

    # --- who has one ------------------------------------------------------------------------------

    def keep(self, place: int, keeper: Owner, server: int | None = None) -> bool:
        """From now on the place lives and dies with that process; `server` holds the memory.

        False where the place was given back meanwhile.
        """
        with self._ledger.change() as db:
            kept = db.execute(
                "UPDATE places SET pid = ?, started = ?, server = coalesce(?, server) WHERE id = ?",
                (keeper.pid, keeper.started, server, place),
            )
            return bool(kept.rowcount)

    def abandon(self, place: int, owner: Owner) -> None:
        """Whoever was placed loads nothing; what a keeper has is left to that keeper."""
        with self._ledger.change() as db:
            db.execute(
                "DELETE FROM places WHERE id = ? AND state = 'loading' AND pid = ? AND started = ?",
                (place, owner.pid, owner.started),
            )

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
                need = int(need * self._rules.grown)
                _learn(db, key, need)
            db.execute("DELETE FROM places WHERE id = ?", (place,))
            return int(need)

    def measured(self, place: int, used: int) -> None:
        """More was seen in use than was thought: remember it for the next time."""
        with self._ledger.change() as db:
            _measured(db, place, used)

    def done(self, place: int, owner: Owner, now: float) -> int:
        """One use less; how many are left."""
        with self._ledger.change() as db:
            rows.sweep(db, self._gone)
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
            rows.sweep(db, self._gone)
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
            rows.sweep(db, self._gone)
            return rows.places(db), rows.waiting(db)

    # --- how it is decided ------------------------------------------------------------------------

    def _settle(self, db: sqlite3.Connection, cards: Sequence[Card], now: float) -> None:
        """Forget what has left, once its memory is seen to be free."""
        by_name = {card.device: card for card in cards}
        for place in rows.places(db):
            if place.state == "leaving" and _has_left(
                place, by_name.get(place.device), now, self._rules
            ):
                db.execute("DELETE FROM places WHERE id = ?", (place.number,))

    def _decided(
        self,
        db: sqlite3.Connection,
        own: Waiting,
        queue: Sequence[Waiting],
        cards: Sequence[Card],
        now: float,
    ) -> Answer:
        given = rows.places(db)
        own = self._within_reach(own, cards)
        ask = own.ask
        numbers = self._rooms(cards, given, now)
        told = list(numbers.values())
        position = 1 + [one.number for one in queue].index(own.number)
        loaded = next((p for p in given if p.key == ask.key and p.state != "leaving"), None)
        if loaded is not None:
            ahead = sum(one.ask.key == ask.key for one in queue[: position - 1])
            return _join(db, own, loaded, ahead, position, told)
        if not any(could_ever_hold(card, ask.need, self._rules) for card in cards):
            db.execute("DELETE FROM waiting WHERE id = ?", (own.number,))
            reason = _never(cards, told, ask.need)
            return Answer("refused", reason, ask.need, numbers=told)
        earlier = _rivals(queue[: position - 1], own, given)
        open_to_it = [c for c in cards if not self._kept(c, numbers, earlier, ask.need, now)]
        card = best_fit(_loadable(open_to_it, given, ask), numbers, ask.need)
        if card is not None:
            return _place(db, own, card, now, told)
        reason = self._make_room(db, own, open_to_it, numbers, given)
        return Answer("queued", reason, ask.need, position=position, numbers=told)

    def _within_reach(self, own: Waiting, cards: Sequence[Card]) -> Waiting:
        """With no more than a whole device, where only what was learned is too much for all."""
        most = max((most_for_one(card, self._rules) for card in cards), default=0)
        if own.ask.need <= most or own.first > most:
            return own
        return replace(own, ask=replace(own.ask, need=most))

    def _rooms(
        self, cards: Sequence[Card], given: Sequence[Place], now: float
    ) -> dict[str, Numbers]:
        leases = [
            Lease(
                place.device,
                place.need,
                [pid for pid in (place.server,) if pid is not None],
                shown=place.state == "ready"
                and place.loaded is not None
                and now - place.loaded >= self._rules.lag_s,
            )
            for place in given
        ]
        return {card.device: room_on(card, leases, self._rules) for card in cards}

    def _kept(
        self,
        card: Card,
        numbers: Mapping[str, Numbers],
        earlier: Sequence[Waiting],
        need: int,
        now: float,
    ) -> bool:
        """Whether the device is kept for one who came earlier: it fits there now, or waits long."""
        room = numbers[card.device].room
        for one in earlier:
            wants = one.ask.need
            if room - need < wants <= room:
                return True
            long = now - one.since >= self._rules.patience_s
            crowds = room - need < wants or one.ask.alone
            if long and crowds and could_ever_hold(card, wants, self._rules):
                return True
        return False

    def _make_room(
        self,
        db: sqlite3.Connection,
        own: Waiting,
        cards: Sequence[Card],
        numbers: Mapping[str, Numbers],
        given: Sequence[Place],
    ) -> str:
        """Have idle loads leave, if that would help; why it has to wait."""
        fitting = best_fit(cards, numbers, own.ask.need)
        if fitting is not None:
            short = "the machine is short of memory" if fitting.short else ""
            return short or f"another model is being loaded on {fitting.device}, and measures it"
        for card in cards:
            coming = sum(p.need for p in given if p.device == card.device and _goes(p))
            if coming and numbers[card.device].room + coming >= own.ask.need:
                return f"waits until {card.device} is free of what is leaving"
        idle = [
            Idle(place.number, place.device, place.need, place.since)
            for place in given
            if place.state == "ready" and not place.uses and not place.evicted
        ]
        leaving = least_to_leave(cards, numbers, idle, own.ask.need)
        for load in leaving:
            db.execute("UPDATE places SET evicted = 1 WHERE id = ?", (load.place,))
        if leaving:
            return f"{len(leaving)} unused model(s) leave {leaving[0].device} for it"
        return "no device has room enough"


def _loadable(cards: Sequence[Card], given: Sequence[Place], ask: Ask) -> list[Card]:
    """The devices on which a load may begin now."""
    loading = [place for place in given if place.state == "loading"]
    measured = {place.device for place in loading if ask.alone or place.alone}
    return [card for card in cards if not card.short and card.device not in measured]


def _rivals(earlier: Sequence[Waiting], own: Waiting, given: Sequence[Place]) -> list[Waiting]:
    """Those before it that want room on the same devices, and not a slot of what is loaded."""
    loaded = {place.key for place in given if not _goes(place)}
    return [one for one in earlier if one.ask.kind == own.ask.kind and one.ask.key not in loaded]


def _goes(place: Place) -> bool:
    return place.state == "leaving" or (place.evicted and not place.uses)


def _has_left(place: Place, card: Card | None, now: float, rules: Rules) -> bool:
    """Whether enough of its memory is seen free, or it has been long enough."""
    if not 0 <= now - place.since < rules.settle_s:  # the clock of an earlier boot was ahead
        return True
    if card is None:
        return False
    if card.used is not None and place.server is not None:
        return card.used.get(place.server, 0) <= (1 - rules.recovered) * place.need
    if card.free is None or place.seen is None:
        return False
    return card.free - place.seen >= rules.recovered * place.need


def _join(
    db: sqlite3.Connection,
    own: Waiting,
    place: Place,
    ahead: int,
    position: int,
    told: Sequence[Numbers],
) -> Answer:
    """Share a load, as soon as it answers and has a slot that none of those `ahead` could take."""
    need, device = own.ask.need, place.device
    if place.evicted:
        reason = "the model is leaving; it is loaded again afterwards"
    elif place.state == "loading":
        reason = "the model is being loaded"
    elif place.uses >= place.parallel:
        reason = f"all {place.parallel} slots of the model are taken"
    elif place.uses + ahead >= place.parallel:
        reason = f"{ahead} of those who wait for it come first"
    else:
        _take(db, own, place.number)
        return Answer("joined", "it is loaded", need, device, place.number, numbers=told)
    return Answer("queued", reason, need, device, position=position, numbers=told)


def _place(
    db: sqlite3.Connection, own: Waiting, card: Card, now: float, told: Sequence[Numbers]
) -> Answer:
    ask = own.ask
    made = db.execute(
        "INSERT INTO places (key, name, device, need, parallel, alone, state, pid, started, since)"
        " VALUES (?, ?, ?, ?, ?, ?, 'loading', ?, ?, ?)",
        (
            *(ask.key, ask.name, card.device, ask.need, ask.parallel, ask.alone),
            *(own.owner.pid, own.owner.started, now),
        ),
    )
    place = int(made.lastrowid or 0)
    _take(db, own, place)
    return Answer("placed", "it fits", ask.need, card.device, place, numbers=told)


def _take(db: sqlite3.Connection, own: Waiting, place: int) -> None:
    db.execute("DELETE FROM waiting WHERE id = ?", (own.number,))
    db.execute(
        "INSERT INTO uses (place, pid, started) VALUES (?, ?, ?)",
        (place, own.owner.pid, own.owner.started),
    )


def _never(cards: Sequence[Card], told: Sequence[Numbers], need: int) -> str:
    if not cards:
        return "there is no device"
    broken = [f"{card.device}: {card.unusable}" for card in cards if card.unusable]
    most = max(numbers.total - numbers.headroom for numbers in told)
    also = f"; {'; '.join(broken)}" if broken else ""
    return f"it needs {need} bytes, and no device ever has more than {most} for one model{also}"


def _learned(db: sqlite3.Connection, ask: Ask) -> int:
    row = db.execute("SELECT need FROM estimates WHERE key = ?", (ask.key,)).fetchone()
    return ask.need if row is None else max(ask.need, int(row[0]))


def _correct(db: sqlite3.Connection, cards: Sequence[Card]) -> None:
    """Take for a load what it is seen to use, where that is more than was thought."""
    used = {card.device: card.used for card in cards if card.used is not None}
    for place in rows.places(db):
        if place.server is not None and place.state != "leaving":
            _measured(db, place.number, used.get(place.device, {}).get(place.server, 0))


def _measured(db: sqlite3.Connection, place: int, used: int) -> None:
    row = db.execute("SELECT key, need FROM places WHERE id = ?", (place,)).fetchone()
    if row is not None and used > row[1]:
        db.execute("UPDATE places SET need = ? WHERE id = ?", (used, place))
        _learn(db, row[0], used)


def _learn(db: sqlite3.Connection, key: str, need: int) -> None:
    db.execute(
        "INSERT INTO estimates (key, need) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET need = max(need, excluded.need)",
        (key, need),
    )

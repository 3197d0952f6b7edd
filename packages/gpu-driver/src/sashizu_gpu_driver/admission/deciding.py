"""One decision, from the rows of the ledger and what devices show. Times are seconds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sashizu_gpu_driver.admission import rows
from sashizu_gpu_driver.admission.asked import Answer, Card, Numbers, Rules
from sashizu_gpu_driver.admission.placing import (
    Idle,
    best_fit,
    could_ever_hold,
    least_to_leave,
    most_for_one,
)
from sashizu_gpu_driver.admission.room import Lease, room_on
from sashizu_gpu_driver.admission.rows import Place, Waiting
from sashizu_gpu_driver.admission.seen import HOST

__all__ = ["Decision", "settle"]


def settle(db: sqlite3.Connection, cards: Sequence[Card], now: float, rules: Rules) -> None:
    """Forget what has left, once its memory is seen to be free."""
    by_name = {card.device: card for card in cards}
    for place in rows.places(db):
        if place.state == "leaving" and _has_left(place, by_name.get(place.device), now, rules):
            db.execute("DELETE FROM places WHERE id = ?", (place.number,))


@dataclass(frozen=True, slots=True)
class Decision:
    """What is decided for one who waits; `queue` are all who wait, in their order."""

    db: sqlite3.Connection
    queue: Sequence[Waiting]
    cards: Sequence[Card]
    now: float
    rules: Rules

    def about(self, own: Waiting) -> Answer:
        """The answer; what it changes is written."""
        given = rows.places(self.db)
        own = self._within_reach(own)
        ask = own.ask
        numbers = self._rooms(given)
        told = list(numbers.values())
        position = 1 + [one.number for one in self.queue].index(own.number)
        full = rows.at_most(self.db, self.rules.per_agent)
        if ask.agent in full:
            reason = f"{self.rules.per_agent} call(s) of {ask.agent!r} are at work, as many as may"
            return Answer("queued", reason, ask.need, position=position, numbers=told)
        before = [one for one in self.queue[: position - 1] if one.ask.agent not in full]
        loaded = next((p for p in given if p.key == ask.key and p.state != "leaving"), None)
        if loaded is not None:
            ahead = sum(one.ask.key == ask.key for one in before)
            return self._join(own, loaded, ahead, position, told)
        if not any(could_ever_hold(card, ask.need, self.rules) for card in self.cards):
            self.db.execute("DELETE FROM waiting WHERE id = ?", (own.number,))
            reason = _never(self.cards, told, ask.need)
            return Answer("refused", reason, ask.need, numbers=told)
        earlier = _rivals(before, own, given)
        open_to_it = [c for c in self.cards if not self._kept(c, numbers, earlier, ask.need)]
        card = best_fit(_loadable(open_to_it, given, own), numbers, ask.need)
        if card is not None:
            return self._place(own, card, told)
        reason = self._make_room(own, open_to_it, numbers, given)
        return Answer("queued", reason, ask.need, position=position, numbers=told)

    def _within_reach(self, own: Waiting) -> Waiting:
        """With no more than a whole device, where only what was learned is too much for all."""
        most = max((most_for_one(card, self.rules) for card in self.cards), default=0)
        if own.ask.need <= most or own.first > most:
            return own
        return replace(own, ask=replace(own.ask, need=most))

    def _rooms(self, given: Sequence[Place]) -> dict[str, Numbers]:
        leases = [
            Lease(
                place.device,
                place.need,
                [pid for pid in (place.server,) if pid is not None],
                shown=place.state == "ready"
                and place.loaded is not None
                and self.now - place.loaded >= self.rules.lag_s,
                memory=place.pool,
            )
            for place in given
        ]
        return {card.device: room_on(card, leases, self.rules) for card in self.cards}

    def _kept(
        self,
        card: Card,
        numbers: Mapping[str, Numbers],
        earlier: Sequence[Waiting],
        need: int,
    ) -> bool:
        """Whether the device is kept for one who came earlier: it fits there now, or waits long."""
        room = numbers[card.device].room
        for one in earlier:
            wants = one.ask.need
            if room - need < wants <= room:
                return True
            long = self.now - one.since >= self.rules.patience_s
            crowds = room - need < wants or one.ask.alone
            if long and crowds and could_ever_hold(card, wants, self.rules):
                return True
        return False

    # --- making room ------------------------------------------------------------------------------

    def _make_room(
        self,
        own: Waiting,
        cards: Sequence[Card],
        numbers: Mapping[str, Numbers],
        given: Sequence[Place],
    ) -> str:
        """Have idle loads leave, if that would help; why it has to wait."""
        fitting = best_fit(cards, numbers, own.ask.need)
        idle = [
            Idle(place.number, place.pool, place.need, place.since)
            for place in given
            if place.state == "ready" and not place.uses and not place.evicted
        ]
        if fitting is not None and fitting.short:
            self._evict(load for load in idle if load.pool == HOST)
            return "the machine is short of memory"
        if fitting is not None:
            return f"another model is being loaded on {fitting.device}, and measures it"
        for card in cards:
            coming = sum(p.need for p in given if p.pool == card.pool and _goes(p))
            if coming and numbers[card.device].room + coming >= own.ask.need:
                return f"waits until {card.device} is free of what is leaving"
        leaving = least_to_leave(cards, numbers, idle, own.ask.need)
        self._evict(leaving)
        if leaving:
            return f"{len(leaving)} unused model(s) leave {leaving[0].pool} for it"
        away = [f"{card.device}: {card.unusable}" for card in cards if card.away]
        return "; ".join(["no device has room enough", *away])

    def _evict(self, loads: Iterable[Idle]) -> None:
        marked = [(load.place,) for load in loads]
        self.db.executemany("UPDATE places SET evicted = 1 WHERE id = ?", marked)

    # --- giving it --------------------------------------------------------------------------------

    def _join(
        self, own: Waiting, place: Place, ahead: int, position: int, told: Sequence[Numbers]
    ) -> Answer:
        """Share a load, as soon as it answers and has a slot that none of those `ahead` takes."""
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
            self._take(own, place.number)
            return Answer("joined", "it is loaded", need, device, place.number, numbers=told)
        return Answer("queued", reason, need, device, position=position, numbers=told)

    def _place(self, own: Waiting, card: Card, told: Sequence[Numbers]) -> Answer:
        ask = own.ask
        made = self.db.execute(
            "INSERT INTO places (key, name, device, memory, need, parallel, alone, state, pid,"
            " started, since, beat) VALUES (?, ?, ?, ?, ?, ?, ?, 'loading', ?, ?, ?, ?)",
            (
                *(ask.key, ask.name, card.device, card.memory, ask.need, ask.parallel, ask.alone),
                *(own.owner.pid, own.owner.started, self.now, self.now),
            ),
        )
        place = int(made.lastrowid or 0)
        self._take(own, place)
        return Answer("placed", "it fits", ask.need, card.device, place, numbers=told)

    def _take(self, own: Waiting, place: int) -> None:
        self.db.execute("DELETE FROM waiting WHERE id = ?", (own.number,))
        self.db.execute(
            "INSERT INTO uses (place, pid, started, agent, beat) VALUES (?, ?, ?, ?, ?)",
            (place, own.owner.pid, own.owner.started, own.ask.agent, self.now),
        )


def _loadable(cards: Sequence[Card], given: Sequence[Place], own: Waiting) -> list[Card]:
    """The devices on which a load may begin now."""
    loading = [place for place in given if place.state == "loading"]
    measured = {place.pool for place in loading if own.ask.alone or place.alone}
    return [card for card in cards if not card.short and card.pool not in measured]


def _rivals(earlier: Sequence[Waiting], own: Waiting, given: Sequence[Place]) -> list[Waiting]:
    """Those before it that want room on the same devices, and not a slot of what is loaded."""
    loaded = {place.key for place in given if not _goes(place)}
    return [one for one in earlier if one.ask.kind == own.ask.kind and one.ask.key not in loaded]


def _goes(place: Place) -> bool:
    return place.state == "leaving" or (place.evicted and not place.uses)


def _has_left(place: Place, card: Card | None, now: float, rules: Rules) -> bool:
    """Whether enough of its memory is seen free, or it has been long enough."""
    # Who waited for the ledger is a little late; far ahead is the clock of an earlier boot.
    if abs(now - place.since) >= rules.settle_s:
        return True
    if card is None:
        return False
    if card.used is not None and place.server is not None:
        return card.used.get(place.server, 0) <= (1 - rules.recovered) * place.need
    if card.free is None or place.seen is None:
        return False
    return card.free - place.seen >= rules.recovered * place.need


def _never(cards: Sequence[Card], told: Sequence[Numbers], need: int) -> str:
    if not cards:
        return "there is no device"
    broken = [f"{card.device}: {card.unusable}" for card in cards if card.unusable]
    most = max(numbers.total - numbers.headroom for numbers in told)
    also = f"; {'; '.join(broken)}" if broken else ""
    return f"it needs {need} bytes, and no device ever has more than {most} for one model{also}"

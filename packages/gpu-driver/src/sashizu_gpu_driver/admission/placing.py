"""Where a load goes: the device that fits it best, or the least that has to leave for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf

from sashizu_gpu_driver.admission.asked import Card, Numbers, Rules

__all__ = ["Idle", "best_fit", "could_ever_hold", "least_to_leave", "most_for_one"]

BUSY_STEPS = 10
"""Utilisation is told apart in tenths: it is a weak sign, and must not outweigh the fit."""

WARMER_C = 10
ALIKE = 1 << 30
"""Devices whose room differs by less than about this, in bytes, fit alike."""


@dataclass(frozen=True, slots=True)
class Idle:
    """A load that nobody uses, the memory it is in, and since when, in seconds."""

    place: int
    pool: str
    need: int
    since: float


def could_ever_hold(card: Card, need: int, rules: Rules) -> bool:
    """Whether a device would have room for it with nothing else on it."""
    return most_for_one(card, rules) >= need


def most_for_one(card: Card, rules: Rules) -> int:
    """The bytes that a device has for one model with nothing else on it."""
    headroom = max(int(card.total * rules.headroom), rules.headroom_bytes)
    return 0 if card.unusable and not card.away else max(0, card.total - card.reserved - headroom)


def best_fit(cards: Sequence[Card], rooms: Mapping[str, Numbers], need: int) -> Card | None:
    """The device with the least room that is enough; discrete before integrated.

    Between those whose room is equal to a GiB the one that throttles less, then that worked less in
    the last seconds, then the cooler one.
    """
    fitting = [c for c in cards if not c.unusable and rooms[c.device].room >= need]
    return min(fitting, key=lambda card: _rank(card, rooms[card.device].room), default=None)


def _rank(card: Card, room: int) -> tuple[bool, int, bool, int, float, int, str]:
    busy = 0 if card.busy is None else int(card.busy * BUSY_STEPS)
    warmth = inf if card.temperature_c is None else card.temperature_c // WARMER_C
    return card.integrated, room // ALIKE, card.throttled, busy, warmth, room, card.device


def least_to_leave(
    cards: Sequence[Card], rooms: Mapping[str, Numbers], idle: Sequence[Idle], need: int
) -> Sequence[Idle]:
    """The loads of one device whose end makes room enough: fewest bytes, longest idle first.

    Empty where no device gets enough that way.
    """
    found: list[tuple[bool, int, list[Idle]]] = []
    for card in cards:
        if card.unusable:
            continue
        lacking = need - rooms[card.device].room
        here = [load for load in idle if load.pool == card.pool]
        leaving = _enough(here, lacking)
        if leaving:
            found.append((card.integrated, sum(load.need for load in leaving), leaving))
    return min(found, key=lambda entry: entry[:2], default=(False, 0, []))[2]


def _enough(idle: Sequence[Idle], lacking: int) -> list[Idle]:
    """One load alone if one suffices, the smallest such; else the longest idle until it does."""
    alone = [load for load in idle if load.need >= lacking]
    if alone:
        return [min(alone, key=lambda load: (load.need, load.since))]
    leaving: list[Idle] = []
    for load in sorted(idle, key=lambda load: load.since):
        leaving.append(load)
        if sum(one.need for one in leaving) >= lacking:
            return leaving
    return []

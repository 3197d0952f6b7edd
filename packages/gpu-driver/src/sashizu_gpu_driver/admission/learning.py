"""What loads turned out to take: estimates that were too small are remembered. Sizes are bytes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from sashizu_gpu_driver.admission import rows
from sashizu_gpu_driver.admission.asked import Ask, Card

__all__ = ["correct", "learn", "learned", "measured"]


def learned(db: sqlite3.Connection, ask: Ask) -> int:
    """What is asked for, or what such a load is known to take if that is more."""
    row = db.execute("SELECT need FROM estimates WHERE key = ?", (ask.key,)).fetchone()
    return ask.need if row is None else max(ask.need, int(row[0]))


def correct(db: sqlite3.Connection, cards: Sequence[Card]) -> None:
    """Take for a load what it is seen to use, where that is more than was thought."""
    used = {card.device: card.used for card in cards if card.used is not None}
    for place in rows.places(db):
        if place.server is not None and place.state != "leaving":
            measured(db, place.number, used.get(place.device, {}).get(place.server, 0))


def measured(db: sqlite3.Connection, place: int, used: int) -> None:
    """A load was seen to use so much."""
    row = db.execute("SELECT key, need FROM places WHERE id = ?", (place,)).fetchone()
    if row is not None and used > row[1]:
        db.execute("UPDATE places SET need = ? WHERE id = ?", (used, place))
        learn(db, row[0], used)


def learn(db: sqlite3.Connection, key: str, need: int) -> None:
    """Remember what such a load takes at least."""
    db.execute(
        "INSERT INTO estimates (key, need) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET need = max(need, excluded.need)",
        (key, need),
    )

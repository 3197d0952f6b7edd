"""How much a device has room for: what nobody else uses, and nobody was promised."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sashizu_gpu_driver.admission.asked import Card, Numbers, Rules

__all__ = ["Lease", "room_on"]


@dataclass(frozen=True, slots=True)
class Lease:
    """Memory that was promised to one load, in bytes, and the processes that it consists of.

    `shown` says that the device has had the time to show what it takes. `memory` is what the memory
    is called where it is that of several devices.
    """

    device: str
    need: int
    pids: Collection[int] = ()
    shown: bool = False
    memory: str = ""

    @property
    def pool(self) -> str:
        return self.memory or self.device


def room_on(card: Card, leases: Sequence[Lease], rules: Rules) -> Numbers:
    """What could still be placed on a device, from the surest that is known of it.

    A lease counts in full from when it is given, because a device shows its memory late. Where use
    is told apart by process, what is not ours is foreign. What the device reports as free bounds
    it too, less what was promised and cannot be seen yet. What was promised on another device with
    the same memory is promised here too.
    """
    ours = [lease for lease in leases if lease.pool == card.pool]
    seen = [_seen(lease, card) for lease in ours]
    headroom = max(int(card.total * rules.headroom), rules.headroom_bytes)
    taken = sum(max(lease.need, has) for lease, has in zip(ours, seen, strict=True))
    coming = sum(_coming(lease, has, card) for lease, has in zip(ours, seen, strict=True))
    left, rule = card.total - card.reserved - taken, "leases"
    foreign = None
    if card.used is not None:
        foreign = sum(card.used.values()) - sum(seen)
        left, rule = left - foreign, "leases and foreign processes"
    if card.free is not None and card.free - coming < left:
        left, rule = card.free - coming, "reported free memory, less what is to come"
    return Numbers(
        device=card.device,
        room=max(0, left - headroom),
        total=card.total,
        reserved=card.reserved,
        free=card.free,
        leases=taken,
        foreign=foreign,
        headroom=headroom,
        busy=None if card.busy is None else round(card.busy, 3),
        rule=rule,
        source=card.source,
        age_s=card.age_s,
    )


def _coming(lease: Lease, seen: int, card: Card) -> int:
    """What a lease will still take of what is free; by its process where the device tells of it."""
    if card.used is not None and lease.device == card.device:
        return max(lease.need - seen, 0)
    return 0 if lease.shown else lease.need


def _seen(lease: Lease, card: Card) -> int:
    used = card.used if card.used is not None and lease.device == card.device else {}
    return sum(used.get(pid, 0) for pid in set(lease.pids))

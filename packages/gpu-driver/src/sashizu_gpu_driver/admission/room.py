"""How much a device has room for: what nobody else uses, and nobody was promised."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sashizu_gpu_driver.admission.asked import Card, Numbers, Rules

__all__ = ["Lease", "room_on"]


@dataclass(frozen=True, slots=True)
class Lease:
    """Memory that was promised to one load, in bytes, and the processes that it consists of.

    `shown` says that the device has had the time to show what it takes.
    """

    device: str
    need: int
    pids: Collection[int] = ()
    shown: bool = False


def room_on(card: Card, leases: Sequence[Lease], rules: Rules) -> Numbers:
    """What could still be placed on a device, from the surest that is known of it.

    A lease counts in full from when it is given, because a device shows its memory late. Where use
    is told apart by process, what is not ours is foreign. What the device reports as free bounds
    it too, less what was promised and cannot be seen yet.
    """
    ours = [lease for lease in leases if lease.device == card.device]
    headroom = max(int(card.total * rules.headroom), rules.headroom_bytes)
    usable = card.total - card.reserved
    if card.used is None:
        taken = sum(lease.need for lease in ours)
        foreign, left, rule = None, usable - taken, "leases"
        coming = sum(lease.need for lease in ours if not lease.shown)
    else:
        seen = [_seen(lease, card) for lease in ours]
        taken = sum(max(lease.need, has) for lease, has in zip(ours, seen, strict=True))
        foreign = sum(card.used.values()) - sum(seen)
        left, rule = usable - taken - foreign, "leases and foreign processes"
        coming = taken - sum(seen)
    if card.free is not None and card.free - coming < left:
        left, rule = card.free - coming, "reported free memory, less what is to come"
    return Numbers(
        device=card.device,
        room=max(0, left - headroom),
        total=card.total,
        leases=taken,
        foreign=foreign,
        headroom=headroom,
        rule=rule,
        source=card.source,
        age_s=card.age_s,
    )


def _seen(lease: Lease, card: Card) -> int:
    used = card.used or {}
    return sum(used.get(pid, 0) for pid in set(lease.pids))

"""What the kernel tells of GPUs and NPUs, as the contract wants it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sashizu_core.devices import (
    FIELDS,
    Device,
    DeviceBackend,
    DeviceLost,
    DeviceProcess,
    Hint,
    HintResult,
    Known,
    PinnedPool,
    Probe,
    Reading,
    Stats,
    Unknown,
)

from sashizu_gpu_driver.drm import amdgpu, intel, kfd
from sashizu_gpu_driver.drm.cards import Card, cards, sleeps
from sashizu_gpu_driver.drm.clients import Clients, Seen, major_of
from sashizu_gpu_driver.drm.regions import Region, may_measure, region_of
from sashizu_gpu_driver.machine import machine_memory
from sashizu_gpu_driver.namespaces import name_of

__all__ = ["DrmBackend"]

_INTEL = frozenset({"i915", "xe"})
_UNIFIED = frozenset({"intel_vpu", "panfrost", "panthor", "lima", "msm", "v3d", "vc4", "etnaviv"})
"""Drivers whose devices have no memory of their own."""

_ASLEEP = "the device is switched off for now, and asking would wake it"
_NO_PERFMON = "without CAP_PERFMON the kernel tells that all of it is free"
_FIRST_LOOK = "it takes two looks at a counter"

_TOGETHER_NS = 50_000_000
"""Devices that are asked within this time are told from one look at the clients."""

Regions = Callable[[Path, str], Region | None]


@dataclass(slots=True)
class _Counter:
    """A counter of a device as it was, and when."""

    value: float
    at_ns: int


class DrmBackend(DeviceBackend):
    """`root` is where `/sys` and `/proc` are looked for; the other arguments stand in for calls."""

    name = "drm"

    def __init__(
        self,
        *,
        root: Path = Path("/"),
        clock: Callable[[], int] = time.monotonic_ns,
        major: Callable[[str], int | None] = major_of,
        regions: Regions = region_of,
    ) -> None:
        self._root = root
        self._clock = clock
        self._regions = regions
        self._clients = Clients(root, clock, major=major)
        self._looked: tuple[int, list[Seen]] | None = None
        self._cards: dict[str, Card] = {}
        self._counters: dict[tuple[str, str], _Counter] = {}

    def probe(self) -> Probe:
        if not (self._root / "sys/class").is_dir():
            return Probe("missing", "there is no /sys: this is not Linux")
        if not any(True for _ in cards(self._root)):
            return Probe("missing", "the kernel has no driver for a GPU or NPU")
        return Probe("ok")

    def devices(self) -> Sequence[Device]:
        self._cards = {card.id: card for card in cards(self._root)}
        return [
            Device(
                *(card.id, card.name, card.vendor, card.kind, self._memory_kind(card)),
                also=(uuid,) if (uuid := amdgpu.uuid(card)) else (),
            )
            for card in self._cards.values()
        ]

    def _memory_kind(self, card: Card) -> Literal["dedicated", "unified", "shared", "unknown"]:
        if card.driver in _UNIFIED:
            return "unified"
        if card.driver == "amdgpu" and not sleeps(card):
            own = amdgpu.has_own_memory(card)
            return "unknown" if own is None else "dedicated" if own else "shared"
        if card.driver in _INTEL and not sleeps(card):
            return "dedicated" if self._region(card) is not None else "unified"
        return "unknown"

    def _card(self, device: str) -> Card:
        if not self._cards:
            self.devices()
        card = self._cards.get(device)
        if card is None or not card.folder.exists():
            raise DeviceLost(f"the kernel has no device {device!r} any more")
        return card

    def _region(self, card: Card) -> Region | None:
        nodes = sorted((card.folder / "drm").glob("renderD*"))
        return (
            self._regions(self._root / f"dev/dri/{nodes[0].name}", card.driver) if nodes else None
        )

    # --- measuring --------------------------------------------------------------------------------

    def stats(self, device: str) -> Stats:
        card = self._card(device)
        if sleeps(card):
            return Stats(device, {name: Unknown(_ASLEEP, self.name) for name in FIELDS})
        readings = self._files(card)
        for name, reading in self._memory(card).items():
            readings.setdefault(name, reading)
        if "busy_percent" not in readings:
            readings["busy_percent"] = self._busy(card)
        if "power_w" not in readings and isinstance(readings.get("energy_j"), Known):
            readings["power_w"] = self._power(card, readings["energy_j"])
        return Stats(device, readings)

    def _files(self, card: Card) -> dict[str, Reading]:
        now = self._clock()
        found: Iterable[tuple[object, ...]] = ()
        if card.driver == "amdgpu":
            found = amdgpu.told(card)
        elif card.driver in _INTEL or card.driver == "intel_vpu":
            found = intel.told(card)
        readings: dict[str, Reading] = {}
        for name, value, *reason in found:
            if isinstance(value, (int, float, str)):
                readings.setdefault(str(name), Known(value, self.name, now))
            else:
                readings.setdefault(str(name), Unknown(str(reason[0]), self.name))
        return readings

    def _memory(self, card: Card) -> Mapping[str, Reading]:
        now = self._clock()
        if card.driver in _INTEL and (region := self._region(card)) is not None:
            total: dict[str, Reading] = {"memory_total_bytes": Known(region.total, self.name, now)}
            if region.free == region.total and not may_measure(self._root):
                unknown = Unknown(_NO_PERFMON, self.name)
                return total | {"memory_used_bytes": unknown, "memory_free_bytes": unknown}
            return total | {
                "memory_used_bytes": Known(region.total - region.free, self.name, now),
                "memory_free_bytes": Known(region.free, self.name, now),
            }
        if card.driver in _UNIFIED or card.driver in _INTEL:
            return machine_memory(self._root, now)
        return {}

    def _power(self, card: Card, energy: Reading) -> Reading:
        if not isinstance(energy, Known) or isinstance(energy.value, str):
            return Unknown("the driver tells neither power nor energy", self.name)
        rate = self._rate(card, "energy", energy.value, energy.at_ns)
        if rate is None:
            return Unknown(_FIRST_LOOK, self.name)
        return Known(round(rate, 3), f"{self.name}, from energy", energy.at_ns)

    def _rate(self, card: Card, name: str, value: float, now: int) -> float | None:
        """By how much a counter grew in a second; None at the first look, or if it went back."""
        before = self._counters.get((card.id, name))
        if before is None or now > before.at_ns:
            self._counters[card.id, name] = _Counter(value, now)
        if before is None or now <= before.at_ns or value < before.value:
            return None
        return (value - before.value) * 1e9 / (now - before.at_ns)

    def _busy(self, card: Card) -> Reading:
        """How busy the busiest engine was, by what its clients tell or by a counter of an NPU."""
        now = self._clock()
        if (counter := intel.busy_counter_ns(card)) is not None:
            rate = self._rate(card, "busy", counter, now)
            if rate is None:
                return Unknown(_FIRST_LOOK, self.name)
            return Known(round(min(100.0, rate / 1e7), 1), self.name, now)
        seen = self._of(card)
        if self._clients.hidden:
            count = self._clients.hidden
            return Unknown(f"{count} processes may not be looked into (CAP_SYS_PTRACE)", self.name)
        if not seen:
            return Unknown("its driver tells nothing, and nobody has it open", self.name)
        return self._busy_of(seen, now)

    # --- processes --------------------------------------------------------------------------------

    def _of(self, card: Card) -> list[Seen]:
        """The clients of a device, looked at once for all that is asked at one time."""
        now = self._clock()
        if self._looked is None or now - self._looked[0] >= _TOGETHER_NS:
            self._looked = (now, self._clients.look())
        return [one for one in self._looked[1] if _belongs(one, card)]

    def processes(self, device: str) -> Sequence[DeviceProcess] | Unknown:
        card = self._card(device)
        if sleeps(card):
            return Unknown(_ASLEEP, self.name)
        found: dict[int, list[Seen]] = {}
        for one in self._of(card):
            found.setdefault(one.pid, []).append(one)
        compute = kfd.used_by(self._root, card.address) if card.driver == "amdgpu" else {}
        for pid in compute:
            found.setdefault(pid, [])
        return [self._process(card, pid, found[pid], compute.get(pid)) for pid in sorted(found)]

    def _process(
        self, card: Card, pid: int, seen: Sequence[Seen], compute: int | None
    ) -> DeviceProcess:
        now = self._clock()
        own = card.driver not in _UNIFIED
        told = [one.client.local if own else one.client.all_bytes for one in seen]
        sizes = [size for size in told if size is not None]
        if compute is not None:  # newer kernels tell the same in both places
            sizes = [max(sum(sizes), compute)]
        used: Reading = Unknown("its driver does not tell memory of a process", self.name)
        if sizes:
            used = Known(sum(sizes), self.name, now)
        kind: Literal["compute", "unknown"] = "compute" if compute is not None else "unknown"
        return DeviceProcess(
            pid, kind, used, self._busy_of(seen, now), name_of(pid, self._root), ours=True
        )

    def _busy_of(self, seen: Sequence[Seen], now: int) -> Reading:
        if any(one.percent is None for one in seen):
            return Unknown(_FIRST_LOOK, self.name)
        engines: dict[str, float] = {}
        for one in seen:
            for engine, percent in (one.percent or {}).items():
                engines[engine] = engines.get(engine, 0.0) + percent
        if not engines:
            return Unknown("its driver does not count how long engines work", self.name)
        return Known(round(min(100.0, max(engines.values())), 1), self.name, now)

    # --- what the machine does, whatever the device -----------------------------------------------

    def pinned_pool(self, size: int) -> PinnedPool:
        from sashizu_gpu_driver.pinned import MemoryPool

        return MemoryPool(size)

    def hint(self, pid: int, hint: Hint) -> HintResult:
        from sashizu_gpu_driver.hints import apply_hint

        return apply_hint(pid, hint, root=self._root)


def _belongs(one: Seen, card: Card) -> bool:
    if one.client.address:
        return one.client.address == card.address
    return one.client.driver == card.driver

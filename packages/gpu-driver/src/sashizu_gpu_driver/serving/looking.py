"""What is there at the moment, for the controller: measured seldom, for all who wait together."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sashizu_core.devices import Device, DeviceError, DeviceProcess, Devices, Unknown

from sashizu_gpu_driver.admission.asked import Card
from sashizu_gpu_driver.admission.seen import card_of, host_card, is_short

__all__ = ["Looking", "Sight"]

AVERAGED_S = 10.0
"""Over how many seconds it is averaged how busy a device is."""

AWAY_S = 30.0
"""For how long a device that does not answer is waited for: a driver is reset in less."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Cards of the devices, or of the host; and the devices by their id."""

    cards: Sequence[Card]
    devices: Mapping[str, Device]


class Looking:
    """Looks at devices at most once in `every_s` seconds. Blocking; for any thread."""

    def __init__(self, devices: Devices, every_s: float = 1.0) -> None:
        self._devices = devices
        self._every_s = every_s
        self._lock = threading.Lock()
        self._last: tuple[float, Sight] | None = None
        self._seen: deque[tuple[float, Mapping[str, float]]] = deque()
        self._usable: dict[str, tuple[float, Card]] = {}

    def __call__(self, on: str) -> Sight:
        """What is there on `gpu` or `host`."""
        if on == "host":
            return Sight([replace(host_card(), short=_short())], {})
        with self._lock:
            now = time.monotonic()
            if self._last is None or now - self._last[0] >= self._every_s:
                self._last = (time.monotonic(), self._sight())
            return self._last[1]

    def _sight(self) -> Sight:
        snapshot, short = self._devices.sample(), _short()
        parts = {device.parent for device in snapshot.devices if device.parent}
        cards = [
            Card(device.id, 0, unusable="it is partitioned, and only its parts take programs")
            if device.id in parts
            else card_of(
                device,
                snapshot.stats[device.id],
                self._processes(device.id),
                time.monotonic_ns(),
                _session_of,
                short=short,
            )
            if device.id in snapshot.stats
            else Card(device.id, 0, unusable=snapshot.lost.get(device.id, "it answers no more"))
            for device in snapshot.devices
            if device.kind == "gpu"
        ]
        cards = self._averaged(self._waited_for(cards))
        return Sight(cards, {device.id: device for device in snapshot.devices})

    def _waited_for(self, cards: Sequence[Card]) -> list[Card]:
        """With those that were usable a moment ago: as large as they were, and away."""
        now = time.monotonic()
        usable = {card.device: (now, card) for card in cards if not card.unusable}
        before = {name: it for name, it in self._usable.items() if now - it[0] < AWAY_S}
        self._usable = before | usable
        found = {card.device: card for card in cards}
        for name in before.keys() - usable.keys():
            why = found[name].unusable if name in found else "it is not there any more"
            found[name] = replace(before[name][1], unusable=why, away=True, busy=None)
        return list(found.values())

    def _averaged(self, cards: Sequence[Card]) -> list[Card]:
        """With the mean of how busy they were in the looks of the last seconds."""
        now = time.monotonic()
        self._seen.append((now, {c.device: c.busy for c in cards if c.busy is not None}))
        while now - self._seen[0][0] > AVERAGED_S:
            self._seen.popleft()
        found = []
        for card in cards:
            told = [busy[card.device] for _, busy in self._seen if card.device in busy]
            found.append(replace(card, busy=sum(told) / len(told)) if told else card)
        return found

    def _processes(self, device: str) -> Sequence[DeviceProcess] | Unknown:
        try:
            return self._devices.processes(device)
        except DeviceError as error:
            return Unknown(str(error))


def _short() -> bool:
    """Whether the machine is short of memory; no, where the system does not tell."""
    try:
        return is_short(Path("/proc/pressure/memory").read_text("ascii"))
    except OSError:
        return False


def _session_of(pid: int) -> int:
    """The process that a session began with: a server that was started here, or what was before."""
    try:
        return os.getsid(pid)
    except (OSError, AttributeError):
        return pid

"""What Windows counts of GPUs and NPUs, as the contract wants it.

It counts for all vendors what is in use, and by whom; how much memory there is, and how hot it
gets, it does not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from sashizu_core.devices import (
    Device,
    DeviceBackend,
    DeviceError,
    DeviceLost,
    DeviceProcess,
    Known,
    Probe,
    Reading,
    Stats,
    Unknown,
)

from sashizu_gpu_driver.windows.instances import (
    Instance,
    busiest_engines,
    parse_instance,
    sums,
)

__all__ = ["WindowsBackend"]

_TOGETHER_NS = 100_000_000
"""Devices that are asked within this time are told from one collection."""

_FIRST_LOOK = "it takes two looks at a counter"


class _Source(Protocol):
    def collect(self) -> Mapping[str, Sequence[tuple[str, float]]]: ...
    def close(self) -> None: ...


def _pdh() -> _Source:
    from sashizu_gpu_driver.windows.pdh import Counters

    return Counters()


class WindowsBackend(DeviceBackend):
    """`opened` opens the counters, and raises `DeviceError` where there are none."""

    name = "windows"

    def __init__(
        self,
        opened: Callable[[], _Source] = _pdh,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._opened = opened
        self._clock = clock
        self._source: _Source | None = None
        self._collected: tuple[int, Mapping[str, list[tuple[Instance, float]]]] | None = None

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def probe(self) -> Probe:
        try:
            self._start()
        except DeviceError as error:
            return Probe("missing", str(error), "it needs Windows 10 of 2017 or later")
        return Probe("ok")

    def _start(self) -> _Source:
        if self._source is None:
            self._source = self._opened()
        return self._source

    def _counted(self) -> Mapping[str, list[tuple[Instance, float]]]:
        now = self._clock()
        if self._collected is None or now - self._collected[0] >= _TOGETHER_NS:
            found: dict[str, list[tuple[Instance, float]]] = {}
            for name, values in self._start().collect().items():
                parsed = ((parse_instance(instance), value) for instance, value in values)
                found[name] = [(instance, value) for instance, value in parsed if instance]
            self._collected = (now, found)
        return self._collected[1]

    def devices(self) -> Sequence[Device]:
        """Every adapter that has memory in use or an engine; named by its LUID alone."""
        counted = self._counted()
        luids = {one.luid for kind in ("adapter", "engine") for one, _ in counted.get(kind, ())}
        return [Device(luid, f"adapter {luid}", "windows") for luid in sorted(luids)]

    def _known(self, device: str) -> Mapping[str, list[tuple[Instance, float]]]:
        if device not in {one.id for one in self.devices()}:
            raise DeviceLost(f"Windows counts nothing of an adapter {device!r}")
        return self._counted()

    def stats(self, device: str) -> Stats:
        counted, now = self._known(device), self._clock()
        readings: dict[str, Reading] = {}
        busy = busiest_engines(counted.get("engine", ()))
        if device in busy:
            readings["busy_percent"] = Known(round(busy[device], 1), self.name, now)
        else:
            readings["busy_percent"] = Unknown(_FIRST_LOOK, self.name)
        used = sums(counted.get("adapter", ())).get((device, None))
        if used is not None:
            readings["memory_used_bytes"] = Known(used, self.name, now)
        return Stats(device, readings)

    def processes(self, device: str) -> Sequence[DeviceProcess] | Unknown:
        counted, now = self._known(device), self._clock()
        used = sums(counted.get("process", ()))
        by_process: dict[int, list[tuple[Instance, float]]] = {}
        for instance, percent in counted.get("engine", ()):
            if instance.luid == device and instance.pid is not None:
                by_process.setdefault(instance.pid, []).append((instance, percent))
        pids = {pid for luid, pid in used if luid == device and pid is not None} | set(by_process)
        return [
            DeviceProcess(
                pid,
                "unknown",
                Known(used[device, pid], self.name, now)
                if (device, pid) in used
                else Unknown("Windows does not count it", self.name),
                Known(round(busiest_engines(by_process[pid])[device], 1), self.name, now)
                if pid in by_process
                else Unknown(_FIRST_LOOK, self.name),
                ours=True,
            )
            for pid in sorted(pid for pid in pids if pid > 0)
        ]

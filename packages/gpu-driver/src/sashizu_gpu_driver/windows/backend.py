"""What Windows tells of GPUs and NPUs, as the contract wants it.

DXCore tells what they are, how much memory they have, and how hot and fast they run, where their
driver does; the counters tell for all vendors what is in use, and by whom.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

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

from sashizu_gpu_driver.windows import dxcore
from sashizu_gpu_driver.windows.dxcore import Adapter, Adapters
from sashizu_gpu_driver.windows.instances import (
    Instance,
    busiest_engines,
    parse_instance,
    sums,
)

__all__ = ["WindowsBackend"]

_TOGETHER_NS = 100_000_000
"""Devices that are asked within this time are told from one collection."""

_VENDORS = {0x1002: "amd", 0x1022: "amd", 0x8086: "intel", 0x10DE: "nvidia", 0x5143: "qualcomm"}
_DXCORE = "dxcore"
_NOT_TOLD = "its driver does not tell DXCore"
_FIRST_LOOK = "it takes two looks at a counter"


class _Source(Protocol):
    def collect(self) -> Mapping[str, Sequence[tuple[str, float]]]: ...
    def close(self) -> None: ...


def _pdh() -> _Source:
    from sashizu_gpu_driver.windows.pdh import Counters

    return Counters()


class WindowsBackend(DeviceBackend):
    """`opened` opens the counters, `adapters` those of DXCore; one of them is enough.

    Both raise `DeviceError` where there are none.
    """

    name = "windows"

    def __init__(
        self,
        opened: Callable[[], _Source] = _pdh,
        *,
        adapters: Callable[[], Adapters] = dxcore.load,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._opened = opened
        self._clock = clock
        self._source: _Source | None = None
        self._open_adapters = adapters
        self._adapters: Adapters | None = None
        self._reasons: list[str] = []
        self._ran: dict[str, tuple[int, dict[int, int]]] = {}
        self._collected: tuple[int, Mapping[str, list[tuple[Instance, float]]]] | None = None

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
        if self._adapters is not None:
            self._adapters.close()
            self._adapters = None

    def probe(self) -> Probe:
        try:
            self._start()
        except DeviceError as error:
            return Probe("missing", str(error), "it needs Windows 10 of 2017 or later")
        return Probe("ok", "; ".join(self._reasons))

    def _start(self) -> None:
        """Open what there is, once.

        Raises:
            DeviceError: neither is there.
        """
        if self._source is not None or self._adapters is not None:
            return
        self._reasons = []
        try:
            self._source = self._opened()
        except DeviceError as error:
            self._reasons.append(str(error))
        try:
            self._adapters = self._open_adapters()
        except DeviceError as error:
            self._reasons.append(str(error))
        if self._source is None and self._adapters is None:
            raise DeviceError("; ".join(self._reasons))

    def _counted(self) -> Mapping[str, list[tuple[Instance, float]]]:
        now = self._clock()
        if self._collected is None or now - self._collected[0] >= _TOGETHER_NS:
            self._start()
            found: dict[str, list[tuple[Instance, float]]] = {}
            collected = self._source.collect() if self._source is not None else {}
            for name, values in collected.items():
                parsed = ((parse_instance(instance), value) for instance, value in values)
                found[name] = [(instance, value) for instance, value in parsed if instance]
            self._collected = (now, found)
        return self._collected[1]

    def devices(self) -> Sequence[Device]:
        """Those of DXCore, and every adapter of which the counters alone know: by its LUID."""
        counted = self._counted()
        told = [_device(one) for one in self._present().values()]
        names = {one.id for one in told}
        luids = {one.luid for kind in ("adapter", "engine") for one, _ in counted.get(kind, ())}
        others = [Device(luid, f"adapter {luid}", "windows") for luid in sorted(luids - names)]
        return [*told, *others]

    def _present(self) -> dict[str, Adapter]:
        self._start()
        found = self._adapters.present() if self._adapters is not None else ()
        return {one.facts.id: one for one in found}

    def _known(self, device: str) -> Mapping[str, list[tuple[Instance, float]]]:
        if device not in {one.id for one in self.devices()}:
            raise DeviceLost(f"Windows counts nothing of an adapter {device!r}")
        return self._counted()

    def stats(self, device: str) -> Stats:
        counted, now = self._known(device), self._clock()
        readings: dict[str, Reading] = {}
        adapter = self._present().get(device)
        if adapter is not None:
            readings |= _told(adapter, now)
        busy = busiest_engines(counted.get("engine", ()))
        ran = self._running(adapter, now) if adapter is not None else None
        if ran is not None:
            readings["busy_percent"] = Known(ran, _DXCORE, now)
        elif device in busy:
            readings["busy_percent"] = Known(round(busy[device], 1), self.name, now)
        else:
            readings["busy_percent"] = Unknown(_FIRST_LOOK, self.name)
        used = sums(counted.get("adapter", ())).get((device, None))
        if used is not None and not isinstance(readings.get("memory_used_bytes"), Known):
            readings["memory_used_bytes"] = Known(used, self.name, now)
        return Stats(device, readings | _free(readings, now))

    def _running(self, adapter: Adapter, now: int) -> float | None:
        """How busy its busiest engine was since the last look, in percent."""
        before = self._ran.get(adapter.facts.id)
        engines = adapter.running_us()
        if before is None or now - before[0] >= _TOGETHER_NS:
            self._ran[adapter.facts.id] = (now, engines)
        if before is None or not engines or now <= before[0]:
            return None
        most = max(ran - before[1].get(engine, ran) for engine, ran in engines.items())
        return round(min(100.0, max(0.0, most * 1e5 / (now - before[0]))), 1)

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


def _device(adapter: Adapter) -> Device:
    facts = adapter.facts
    vendor = _VENDORS.get(facts.vendor, f"{facts.vendor:04x}" if facts.vendor else "windows")
    memory: Literal["shared", "dedicated"] = "shared" if facts.integrated else "dedicated"
    return Device(facts.id, facts.name or f"adapter {facts.id}", vendor, facts.kind, memory)


def _told(adapter: Adapter, now: int) -> dict[str, Reading]:
    """What DXCore tells of one adapter; what is not told is unknown and never nought."""
    values: dict[str, float | None] = {
        "memory_total_bytes": adapter.facts.own_memory,
        "memory_used_bytes": adapter.used_memory(),
        "temperature_c": adapter.temperature_c(),
        "clock_core_mhz": adapter.core_mhz(),
        "clock_memory_mhz": adapter.memory_mhz(),
    }
    return {
        name: Unknown(_NOT_TOLD, _DXCORE) if value is None else Known(value, _DXCORE, now)
        for name, value in values.items()
    }


def _free(readings: Mapping[str, Reading], now: int) -> dict[str, Reading]:
    total, used = readings.get("memory_total_bytes"), readings.get("memory_used_bytes")
    if not isinstance(total, Known) or not isinstance(used, Known):
        return {}
    return {"memory_free_bytes": Known(max(0, int(total.value) - int(used.value)), _DXCORE, now)}

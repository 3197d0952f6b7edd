"""The backend `native`: what the driver tells of devices, and its memory, turns and hints."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence

from sashizu_core.devices import (
    Device,
    DeviceBackend,
    DeviceError,
    DeviceLost,
    DeviceProcess,
    Hint,
    HintResult,
    Known,
    Probe,
    Reading,
    Stats,
    Unknown,
)

from sashizu_gpu_driver.native.driver import NativeDriver
from sashizu_gpu_driver.native.errors import (
    DriverAbsent,
    DriverBusy,
    DriverError,
    DriverForbidden,
    DriverNotReady,
)
from sashizu_gpu_driver.native.pool import NativePool
from sashizu_gpu_driver.native.values import GpuSample

__all__ = ["NativeBackend"]

_READ_THE_PAGE = "see the page about the native driver in the manual"


class NativeBackend(DeviceBackend):
    """Speaks to the driver of this machine, or to one that `opened` opens."""

    def __init__(self, opened: Callable[[], NativeDriver] = NativeDriver.open) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._driver: NativeDriver | None = None

    @property
    def name(self) -> str:
        return "native"

    def probe(self) -> Probe:
        try:
            version = self._open().version
        except DriverAbsent as error:
            return Probe("missing", str(error), _READ_THE_PAGE)
        except DriverForbidden as error:
            return Probe("forbidden", str(error), _READ_THE_PAGE)
        except DeviceError as error:
            return Probe("missing", str(error), _READ_THE_PAGE)
        return Probe("ok", f"{version.system} driver, interface {version.interface}")

    def devices(self) -> Sequence[Device]:
        return [
            Device(one.id, one.name, one.vendor, one.kind, one.memory) for one in self._samples()
        ]

    def stats(self, device: str) -> Stats:
        sample = self._sample(device)[1]
        at_ns = time.monotonic_ns() - round(sample.age_s * 1e9)
        total, used = sample.memory_total, sample.memory_used
        values = {
            "memory_total_bytes": total,
            "memory_used_bytes": used,
            "memory_free_bytes": None if total is None or used is None else total - used,
            "busy_percent": sample.busy_percent,
            "temperature_c": sample.temperature_c,
            "power_w": sample.power_w,
        }
        readings: dict[str, Reading] = {
            name: Unknown("the collector did not know it", self.name)
            if value is None
            else Known(value, self.name, at_ns)
            for name, value in values.items()
        }
        return Stats(device, readings)

    def processes(self, device: str) -> Sequence[DeviceProcess] | Unknown:
        index = self._sample(device)[0]
        nobody = Unknown("the driver does not tell it", self.name)
        several = Unknown("it is known only for several devices together", self.name)
        found = []
        for one in self._open().processes():
            if index not in one.gpus:
                continue
            at_ns = time.monotonic_ns() - round(one.age_s * 1e9)
            used = Known(one.gpu_bytes, self.name, at_ns) if len(one.gpus) == 1 else several
            found.append(DeviceProcess(one.pid, "unknown", used, nobody, one.name, ours=True))
        return found

    def pinned_pool(self, size: int) -> NativePool:
        if sys.platform == "win32":
            raise DriverError("memory of the Windows driver has a name and no descriptor")
        return NativePool(size, self._opened)

    def hint(self, pid: int, hint: Hint) -> HintResult:
        if hint.nice is None or any((hint.cpu_weight, hint.policy, hint.device_memory_max)):
            return HintResult("unsupported", reason="the driver sets `nice` and nothing else")
        nice = hint.nice
        try:
            driver = self._open()
            before, after = driver.hint(nice, _pid(pid))
        except (DriverForbidden, DriverBusy) as error:
            return HintResult("denied", reason=str(error))
        except DeviceError as error:
            return HintResult("unsupported", reason=str(error))
        return HintResult(
            "applied", how=f"nice {before} -> {after}", undo=lambda: driver.unhint(_pid(pid))
        )

    def close(self) -> None:
        """Close the handle; hints that it gave are taken back."""
        with self._lock:
            if self._driver is not None:
                self._driver.close()
                self._driver = None

    def _open(self) -> NativeDriver:
        with self._lock:
            if self._driver is None:
                self._driver = self._opened()
            return self._driver

    def _samples(self) -> Sequence[GpuSample]:
        try:
            return self._open().gpus()
        except DriverNotReady:
            return ()  # nobody collects: then no device is known

    def _sample(self, device: str) -> tuple[int, GpuSample]:
        for index, sample in enumerate(self._samples()):
            if sample.id == device:
                return index, sample
        raise DeviceLost(f"the driver knows no device {device!r}: nobody submits it")


def _pid(pid: int) -> int:
    """0 is this process for the driver, in whatever namespace it is."""
    return 0 if pid == os.getpid() else pid

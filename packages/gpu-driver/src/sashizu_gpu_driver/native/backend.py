"""The backend `native`: what the driver tells of devices, and its memory, turns and hints."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

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

from sashizu_gpu_driver.native import abi
from sashizu_gpu_driver.native.collecting import sampled
from sashizu_gpu_driver.native.driver import NativeDriver
from sashizu_gpu_driver.native.errors import (
    DriverAbsent,
    DriverBusy,
    DriverError,
    DriverForbidden,
    DriverNotReady,
)
from sashizu_gpu_driver.native.pool import NativePool
from sashizu_gpu_driver.native.registration import NativeRegistration
from sashizu_gpu_driver.native.values import GpuSample

__all__ = ["NativeBackend"]

_FIELDS = (
    *("memory_total_bytes", "memory_used_bytes", "memory_free_bytes"),
    *("busy_percent", "temperature_c", "power_w"),
)
_READ_THE_PAGE = "see the page about the native driver in the manual"


class NativeBackend(DeviceBackend):
    """Speaks to the driver of this machine, or to one that `opened` opens.

    What the other backends measure is submitted to the driver, where nobody else does that; then
    this one tells nothing of devices itself, because all that it could tell would be theirs.
    """

    def __init__(self, opened: Callable[[], NativeDriver] = NativeDriver.open) -> None:
        self._opened = opened
        self._lock = threading.Lock()
        self._driver: NativeDriver | None = None
        self._submitted: tuple[str, ...] = ()
        self._listed: set[str] = set()

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
        if self._submitted:
            return []
        samples = self._samples()
        self._listed |= {one.id for one in samples}
        return [Device(one.id, one.name, one.vendor, one.kind, one.memory) for one in samples]

    def stats(self, device: str) -> Stats:
        silent = self._silent(device)
        if silent is not None:
            return Stats(device, dict.fromkeys(_FIELDS, silent))
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
        silent = self._silent(device)
        if silent is not None:
            return silent
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

    # --- collecting -------------------------------------------------------------------------------

    @property
    def collects(self) -> bool:
        return True

    def hear(self, told: Sequence[tuple[Device, Stats]]) -> None:
        """Submit what was measured; somebody else who does so already is left to it."""
        now = time.monotonic_ns()
        samples = [one for one in (sampled(*pair, now) for pair in told) if one is not None]
        samples = samples[: abi.MAX_GPUS]
        try:
            self._open().submit(samples)
            self._submitted = tuple(one.id for one in samples)
        except DeviceError:
            self._submitted = ()

    def hear_processes(self, device: str, processes: Sequence[DeviceProcess]) -> None:
        """Submit who holds memory of a device, where its measurements are submitted here too."""
        if device not in self._submitted:
            return
        holders = [
            (one.pid, int(one.used_bytes.value))
            for one in processes
            if one.ours and isinstance(one.used_bytes, Known)
        ]
        with suppress(DeviceError):  # it is asked again with the next list
            self._open().submit_processes(self._submitted.index(device), holders)

    def _silent(self, device: str) -> Unknown | None:
        """Why nothing is told of a device that is known; None where something is."""
        if device in self._submitted:
            return Unknown("what the driver knows was submitted here", self.name)
        if device in self._listed:
            try:
                self._open().gpus()
            except DriverNotReady:
                return Unknown("nobody submits measurements to the driver any more", self.name)
        return None

    # --- memory, runtimes and hints ---------------------------------------------------------------

    def pinned_pool(self, size: int) -> NativePool:
        if sys.platform == "win32":
            raise DriverError("memory of the Windows driver has a name and no descriptor")
        return NativePool(size, self._opened)

    def register_runtime(self, name: str, paths: frozenset[str]) -> NativeRegistration:
        driver = self._opened()  # a handle of its own, with which the registration ends
        try:
            return NativeRegistration(driver, name, paths)
        except BaseException:
            driver.close()
            raise

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

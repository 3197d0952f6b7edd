"""What is measured of one GPU, asked without detours: this is what is done every second.

The bindings look each function up by its name, make room for its answer and wrap it; here both are
made once for a device. The layouts are still theirs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pynvml

from sashizu_gpu_driver.nvml.library import Fault, fault_of

__all__ = ["QUERIES", "Query", "memory_of"]

Value = float | int | str
Ask = Callable[[], tuple[Value, ...]]

_TOO_OLD = "the driver is too old to tell it"


@dataclass(frozen=True, slots=True)
class Query:
    """One call and the one or two fields that it answers; `made` prepares it for a handle.

    What is prepared raises `Fault` or `DeviceLost` where there is no answer. It is used by one
    thread at a time. One that is for `older` drivers comes after the one for newer.
    """

    fields: tuple[str, ...]
    made: Callable[[Any], Ask]
    older: bool = False


def _ask(name: str, answer: Any, handle: Any, read: Callable[[Any], tuple[Value, ...]]) -> Ask:
    """A call of `name(handle, &answer)`, with what its answer means."""
    try:
        function = pynvml.nvmlLib[name]
    except AttributeError:

        def missing() -> tuple[Value, ...]:
            raise Fault("unsupported", _TOO_OLD)

        return missing
    place = ctypes.byref(answer)

    def ask() -> tuple[Value, ...]:
        if code := function(handle, place):
            raise fault_of(code)
        return read(answer)

    return ask


def _whole(name: str) -> Callable[[Any], Ask]:
    return lambda handle: _ask(name, ctypes.c_uint(), handle, lambda found: (found.value,))


def _thousandth(name: str, kind: type[Any] = ctypes.c_uint) -> Callable[[Any], Ask]:
    return lambda handle: _ask(name, kind(), handle, lambda found: (found.value / 1000,))


def _utilization(handle: Any) -> Ask:
    answer = pynvml.c_nvmlUtilization_t()
    name = "nvmlDeviceGetUtilizationRates"
    return _ask(name, answer, handle, lambda found: (found.gpu, found.memory))


def _temperature(handle: Any) -> Ask:
    answer = pynvml.c_nvmlTemperature_v1_t()
    answer.version = pynvml.nvmlTemperature_v1
    answer.sensorType = pynvml.NVML_TEMPERATURE_GPU
    return _ask("nvmlDeviceGetTemperatureV", answer, handle, lambda found: (found.temperature,))


def _kinded(name: str, kind: int) -> Callable[[Any], Ask]:
    """A call of `name(handle, kind, &answer)`."""

    def made(handle: Any) -> Ask:
        try:
            function, answer = pynvml.nvmlLib[name], ctypes.c_uint()
        except AttributeError:
            return _ask(name, ctypes.c_uint(), handle, lambda found: (found.value,))
        place = ctypes.byref(answer)

        def ask() -> tuple[Value, ...]:
            if code := function(handle, kind, place):
                raise fault_of(code)
            return (answer.value,)

        return ask

    return made


_THROTTLES: tuple[tuple[int, str], ...] = (
    (pynvml.nvmlClocksEventReasonGpuIdle, "idle"),
    (pynvml.nvmlClocksEventReasonApplicationsClocksSetting, "setting"),
    (pynvml.nvmlClocksEventReasonSwPowerCap, "power cap"),
    (pynvml.nvmlClocksEventReasonHwSlowdown, "hardware slowdown"),
    (pynvml.nvmlClocksEventReasonSyncBoost, "sync boost"),
    (pynvml.nvmlClocksEventReasonSwThermalSlowdown, "heat"),
    (pynvml.nvmlClocksEventReasonHwThermalSlowdown, "hardware heat"),
    (pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown, "power brake"),
    (pynvml.nvmlClocksEventReasonDisplayClockSetting, "display"),
)


def _throttle(handle: Any) -> Ask:
    def read(found: Any) -> tuple[str]:
        bits = found.value
        return (", ".join(word for bit, word in _THROTTLES if bits & bit) or "none",)

    name = "nvmlDeviceGetCurrentClocksEventReasons"
    return _ask(name, ctypes.c_ulonglong(), handle, read)


def _fan(handle: Any) -> Ask:
    name = "nvmlDeviceGetFanSpeed"  # of the speed that is meant to be the largest, so it can exceed
    return _ask(name, ctypes.c_uint(), handle, lambda found: (min(100, found.value),))


QUERIES: tuple[Query, ...] = (
    Query(("busy_percent", "memory_busy_percent"), _utilization),
    Query(("temperature_c",), _temperature),
    Query(
        ("temperature_c",),
        _kinded("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU),
        older=True,
    ),
    Query(("power_w",), _thousandth("nvmlDeviceGetPowerUsage")),
    Query(("power_limit_w",), _thousandth("nvmlDeviceGetEnforcedPowerLimit")),
    Query(("energy_j",), _thousandth("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong)),
    Query(("clock_core_mhz",), _kinded("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM)),
    Query(("clock_memory_mhz",), _kinded("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_MEM)),
    Query(("fan_percent",), _fan),
    Query(("throttle",), _throttle),
    Query(("performance_state",), _whole("nvmlDeviceGetPerformanceState")),
)
"""What is measured of a whole GPU, beside its memory."""


def memory_of(handle: Any) -> Ask:
    """Bytes in all, free, used and reserved.

    Of an older driver only the first two: what it tells as used has the reserve in it.
    """
    answer = pynvml.c_nvmlMemory_v2_t()
    answer.version = pynvml.nvmlMemory_v2
    new = _ask(
        "nvmlDeviceGetMemoryInfo_v2",
        answer,
        handle,
        lambda found: (found.total, found.free, found.used, found.reserved),
    )
    old = _ask(
        "nvmlDeviceGetMemoryInfo",
        pynvml.c_nvmlMemory_t(),
        handle,
        lambda found: (found.total, found.free),
    )

    def ask() -> tuple[Value, ...]:
        try:
            return new()
        except Fault as fault:
            if fault.kind != "unsupported":
                raise
            return old()

    return ask

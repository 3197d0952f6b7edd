"""The one module that knows NVIDIA's bindings: what they return and raise stops here."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import pynvml
from sashizu_core.devices import DeviceLost, Probe

__all__ = ["Fault", "Used", "Xid", "call", "fault_of", "library"]

T = TypeVar("T")

FaultKind = Literal["unsupported", "forbidden", "nothing", "stale", "failed"]

_LOST = frozenset({pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED})
_STALE = frozenset(
    {
        pynvml.NVML_ERROR_INVALID_ARGUMENT,
        pynvml.NVML_ERROR_GPU_NOT_FOUND,
        pynvml.NVML_ERROR_UNINITIALIZED,
    }
)
_UNSUPPORTED: Mapping[int, str] = {
    pynvml.NVML_ERROR_NOT_SUPPORTED: "this device does not tell it",
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: "the driver is too old to tell it",
}
_FORBIDDEN = "only root may ask it"


class Fault(Exception):
    """A call that did not answer. `kind` says whether asking again can help; never leaves nvml."""

    def __init__(self, kind: FaultKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def call(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function of the bindings.

    Raises:
        Fault: it did not answer.
        DeviceLost: the GPU has fallen off the bus, or waits to be reset.
    """
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        raise _fault(error) from None


def _fault(error: pynvml.NVMLError) -> Fault | DeviceLost:
    return fault_of(int(error.value))


def fault_of(code: int) -> Fault | DeviceLost:
    """What to raise for a code that is not success."""
    if code in _LOST:
        return DeviceLost(f"the GPU does not answer: {_text(code)}")
    if code in _UNSUPPORTED:
        return Fault("unsupported", _UNSUPPORTED[code])
    if code == pynvml.NVML_ERROR_NO_PERMISSION:
        return Fault("forbidden", _FORBIDDEN)
    if code == pynvml.NVML_ERROR_NOT_FOUND:
        return Fault("nothing", _text(code))
    return Fault("stale" if code in _STALE else "failed", _text(code))


def _text(code: int) -> str:
    said = str(pynvml.NVMLError(code)).strip().lower()
    return f"NVML error {code}, {said or 'no text'}"


@dataclass(frozen=True, slots=True)
class Used:
    """What a process uses; bytes are None where the driver does not tell them."""

    pid: int
    kind: Literal["compute", "graphics", "mps"]
    used: int | None


@dataclass(frozen=True, slots=True)
class Xid:
    """An error of a GPU: its number, and a handle of the GPU."""

    handle: Any
    code: int


_Kind = Literal["compute", "graphics", "mps"]

_LISTS: tuple[tuple[_Kind, Callable[[Any], list[Any]]], ...] = (
    ("compute", pynvml.nvmlDeviceGetComputeRunningProcesses),
    ("graphics", pynvml.nvmlDeviceGetGraphicsRunningProcesses),
    ("mps", pynvml.nvmlDeviceGetMPSComputeRunningProcesses),
)


class _Library:
    """Calls of the bindings as values of ours. One for the process, as the library is."""

    def start(self) -> Probe:
        """Start the library; it stays started, because starting costs seconds on some machines."""
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            code = int(error.value)
            if code == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
                return Probe("missing", "there is no libnvidia-ml", "install the NVIDIA driver")
            if code == pynvml.NVML_ERROR_NO_PERMISSION:
                return Probe("forbidden", _text(code), "let this user open /dev/nvidiactl")
            return Probe("missing", _text(code), "see whether the NVIDIA driver is loaded")
        return Probe("ok")

    def stop(self) -> None:
        pynvml.nvmlShutdown()

    def handles(self) -> list[Any]:
        """Handles of the GPUs that answer; one that is lost is left out.

        Raises:
            Fault: they cannot be counted.
        """
        found = []
        for index in range(call(pynvml.nvmlDeviceGetCount)):
            try:
                found.append(call(pynvml.nvmlDeviceGetHandleByIndex, index))
            except (Fault, DeviceLost):
                continue
        return found

    def uuid(self, handle: Any) -> str:
        return _word(call(pynvml.nvmlDeviceGetUUID, handle))

    def name(self, handle: Any) -> str:
        return _word(call(pynvml.nvmlDeviceGetName, handle))

    def address(self, handle: Any) -> str:
        """Where it is on the bus, as Linux writes it."""
        found = call(pynvml.nvmlDeviceGetPciInfo, handle)
        return f"{found.domain:04x}:{found.bus:02x}:{found.device:02x}.0"

    def by_uuid(self, uuid: str) -> Any:
        return call(pynvml.nvmlDeviceGetHandleByUUID, uuid.encode())

    def parts(self, handle: Any) -> list[Any]:
        """Handles of the MIG devices of a GPU; empty where it is not partitioned."""
        try:
            if not call(pynvml.nvmlDeviceGetMigMode, handle)[0]:
                return []
            most = call(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle)
        except Fault:
            return []
        found = []
        for index in range(most):
            try:
                found.append(call(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index))
            except Fault:
                continue
        return found

    def processes(self, handle: Any) -> list[Used]:
        """Who uses a GPU, once for each kind of work.

        Raises:
            Fault: none of the lists can be had.
        """
        found: list[Used] = []
        silent: Fault | None = None
        answered = False
        for kind, function in _LISTS:
            try:
                listed = call(function, handle)
            except Fault as fault:
                silent = silent or fault
                continue
            answered = True
            # Drivers answer 0 for what they do not know, in containers above all.
            found += [Used(int(one.pid), kind, one.usedGpuMemory or None) for one in listed]
        if not answered and silent is not None:
            raise silent
        return found

    def busy_since(self, handle: Any, stamp: int) -> tuple[dict[int, int], int]:
        """Percent by process in its newest sample after a stamp, and the newest stamp.

        Raises:
            Fault: it is not told; `nothing` where there is no sample since then.
        """
        newest: dict[int, tuple[int, int]] = {}
        for one in call(pynvml.nvmlDeviceGetProcessUtilization, handle, stamp):
            at, percent = int(one.timeStamp), int(one.smUtil)
            if at > stamp and percent <= 100 and at >= newest.get(int(one.pid), (0, 0))[0]:
                newest[int(one.pid)] = (at, percent)
        last = max((at for at, _ in newest.values()), default=stamp)
        return {pid: percent for pid, (_, percent) in newest.items()}, last

    def event_set(self, handles: list[Any]) -> Any | None:
        """What collects errors of GPUs; None where the driver reports none."""
        try:
            found = call(pynvml.nvmlEventSetCreate)
        except Fault:
            return None
        for handle in handles:
            try:
                call(
                    pynvml.nvmlDeviceRegisterEvents,
                    handle,
                    pynvml.nvmlEventTypeXidCriticalError,
                    found,
                )
            except (Fault, DeviceLost):
                continue
        return found

    def xid(self, event_set: Any) -> Xid | None:
        """The next error, without waiting for one."""
        found = pynvml.c_nvmlEventData_t()
        # Not through the bindings: at nearly every look there is none, and they raise for that.
        if pynvml.nvmlLib.nvmlEventSetWait_v2(event_set, ctypes.byref(found), ctypes.c_uint(0)):
            return None
        return Xid(found.device, int(found.eventData))

    def free(self, event_set: Any) -> None:
        try:
            call(pynvml.nvmlEventSetFree, event_set)
        except (Fault, DeviceLost):
            return


def _word(found: str | bytes) -> str:
    text = found.decode("utf-8", "replace") if isinstance(found, bytes) else found
    return "".join(letter if letter.isprintable() else "?" for letter in text)


library = _Library()

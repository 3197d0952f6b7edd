"""What the driver refuses, one class for each thing that a caller may want to do about it."""

from __future__ import annotations

from sashizu_core.devices import DeviceError

from sashizu_gpu_driver.native.abi import Status

__all__ = [
    "DriverAbsent",
    "DriverBusy",
    "DriverCancelled",
    "DriverError",
    "DriverForbidden",
    "DriverFull",
    "DriverMismatch",
    "DriverNotReady",
    "DriverTimeout",
    "DriverUnknown",
    "refused",
]


class DriverError(DeviceError):
    """The driver did not do what was asked. `status` is its answer, None if it was never asked."""

    def __init__(self, message: str, status: Status | None = None) -> None:
        super().__init__(message)
        self.status = status


class DriverAbsent(DriverError):
    """There is no driver on this machine, or none for this system."""


class DriverForbidden(DriverError):
    """The driver is there, and this user or this handle may not do that."""


class DriverMismatch(DriverError):
    """Driver and client speak different versions, or the driver has no such function."""


class DriverFull(DriverError):
    """A quota, the pool or the machine has no room for what was asked."""


class DriverBusy(DriverError):
    """Somebody else has it: the turn, the place of the collector, the hint for a process."""


class DriverTimeout(DriverError):
    """The wait was as long as it may be."""


class DriverCancelled(DriverError):
    """The wait was ended by a signal or by a cancel."""


class DriverNotReady(DriverError):
    """Something has to happen first: a collector, a registration."""


class DriverUnknown(DriverError):
    """There is no such device, process, buffer or turn."""


_TYPES: dict[Status, type[DriverError]] = {
    Status.UNKNOWN: DriverMismatch,
    Status.SIZE: DriverMismatch,
    Status.ABI: DriverMismatch,
    Status.DENIED: DriverForbidden,
    Status.MISSING: DriverUnknown,
    Status.QUOTA: DriverFull,
    Status.FULL: DriverFull,
    Status.MEMORY: DriverFull,
    Status.NOT_READY: DriverNotReady,
    Status.BUSY: DriverBusy,
    Status.TIMEOUT: DriverTimeout,
    Status.CANCELLED: DriverCancelled,
}
_SAID = {
    Status.UNKNOWN: "the driver has no such function; update it",
    Status.SIZE: "the driver has another layout of it; install the driver of this version",
    Status.ABI: "the driver has another version of the interface; install that of this version",
    Status.INVALID: "a value is outside of what the interface allows",
    Status.DENIED: "this user may not do that; see the page about the driver",
    Status.MISSING: "there is no such device, process, buffer or turn",
    Status.QUOTA: "it is more than one client may have; give something back first",
    Status.FULL: "the driver has no room left; give something back first",
    Status.MEMORY: "the machine has no memory left for it",
    Status.NOT_READY: "something has to come first: a collector's sample, or a registration",
    Status.BUSY: "somebody else has it; try again later",
    Status.TIMEOUT: "it did not become free in time",
    Status.CANCELLED: "the wait was ended",
}


def refused(function: str, status: Status) -> DriverError:
    """The error for an answer of the driver that is not `OK`."""
    return _TYPES.get(status, DriverError)(f"{function}: {_SAID[status]}", status)

"""The way to the driver: a file and `ioctl` on Linux, a handle and `DeviceIoControl` on Windows."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from ctypes import Structure
from typing import Protocol

from sashizu_gpu_driver.native.abi import Function, PoolMap
from sashizu_gpu_driver.native.errors import DriverAbsent

__all__ = ["Transport", "open_transport"]


class Transport(Protocol):
    """One open handle. What it owns in the driver ends with it."""

    @property
    def call(self) -> Callable[[Function, Structure], None]:
        """Sends a frame and fills it with the answer; raises `DriverError` if it is refused."""
        ...

    def map(self, place: PoolMap) -> mmap.mmap:
        """See a buffer of the pool."""
        ...

    def fileno(self) -> int:
        """A descriptor that can be passed on; -1 where there is none."""
        ...

    def close(self) -> None: ...


def open_transport(device: str | None = None) -> Transport:
    """The way to the driver of this system.

    Raises:
        DriverAbsent: there is none.
        DriverForbidden: this user may not open it.
    """
    if sys.platform == "linux":
        from sashizu_gpu_driver.native.linux import LinuxTransport

        return LinuxTransport(device)
    elif sys.platform == "win32":
        from sashizu_gpu_driver.native.windows import WindowsTransport

        return WindowsTransport(device)
    else:
        raise DriverAbsent(f"there is no driver for {sys.platform}, only for Linux and Windows")

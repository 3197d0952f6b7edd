"""The driver on Linux: `/dev/sashizu`."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable
from ctypes import Structure

from sashizu_gpu_driver.native.abi import ERRNO, LINUX_DEVICE, Function, PoolMap, Status
from sashizu_gpu_driver.native.errors import (
    DriverAbsent,
    DriverError,
    DriverForbidden,
    refused,
)

__all__ = ["LinuxTransport"]

assert sys.platform != "win32"

import fcntl  # noqa: E402 - only where it is


def _caller(fd: int) -> Callable[[Function, Structure], None]:
    """`LinuxTransport.call`, without a look-up that could be done once."""
    ioctl = fcntl.ioctl

    def call(function: Function, frame: Structure) -> None:
        try:
            ioctl(fd, function, frame)
        except OSError as error:
            status = ERRNO.get(error.errno or 0)
            if status is None:
                raise DriverError(f"{function.name}: {error.strerror}") from error
            raise refused(function.name, status) from None

    return call


class LinuxTransport:
    """An open device file. Raises as `open_transport` says."""

    def __init__(self, device: str | None = None) -> None:
        path = device or LINUX_DEVICE
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except PermissionError as error:
            raise DriverForbidden(
                f"{path} may not be opened by this user: join the group that owns it"
            ) from error
        except OSError as error:
            raise DriverAbsent(
                f"{path} cannot be opened ({error.strerror}): load the module sashizu"
            ) from error
        self.call = _caller(self._fd)

    def map(self, place: PoolMap) -> mmap.mmap:
        try:
            return mmap.mmap(self._fd, place.bytes, offset=place.offset)
        except OSError as error:
            message = f"buffer {place.handle} cannot be mapped: {error.strerror}"
            raise DriverError(message, Status.MEMORY) from error

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

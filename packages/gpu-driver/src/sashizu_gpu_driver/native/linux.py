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


def _caller(fd: int) -> tuple[Callable[[Function, Structure], None], Callable[[], None]]:
    """`LinuxTransport.call`, without a look-up that could be done once; and what ends it.

    The number of a file that is closed may be that of any other file soon.
    """
    ioctl = fcntl.ioctl

    def end() -> None:
        nonlocal fd
        fd = -1

    def call(function: Function, frame: Structure) -> None:
        try:
            ioctl(fd, function, frame)
        except OSError as error:
            status = ERRNO.get(error.errno or 0)
            if status is None:
                raise DriverError(f"{function.name}: {error.strerror}") from error
            raise refused(function.name, status) from None
        except ValueError:  # what `ioctl` says of -1
            raise DriverError(f"{function.name}: the handle is closed") from None

    return call, end


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
        self.call, self._end_calls = _caller(self._fd)

    def map(self, place: PoolMap) -> mmap.mmap:
        if self._fd < 0:  # without a file there would be memory all the same
            raise DriverError(f"buffer {place.handle} cannot be mapped: the handle is closed")
        try:
            return mmap.mmap(self._fd, place.bytes, offset=place.offset)
        except OSError as error:
            message = f"buffer {place.handle} cannot be mapped: {error.strerror}"
            raise DriverError(message, Status.MEMORY) from error

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        if self._fd >= 0:
            self._end_calls()
            os.close(self._fd)
            self._fd = -1

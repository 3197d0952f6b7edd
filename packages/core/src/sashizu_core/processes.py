"""Which process owns what it drew, and whether that process is still there.

A process is its number and when it started, so that a number that is used again names nobody else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["Owner", "had_number", "has_ended", "is_gone", "this_process"]


_QUERY_LIMITED, _SYNCHRONIZE = 0x1000, 0x100000
"""PROCESS_QUERY_LIMITED_INFORMATION and SYNCHRONIZE, winnt.h."""

_EPOCH_S = 11_644_473_600
"""From 1601, where the times of Windows begin, to 1970."""

_NO_SUCH_PROCESS = 87
"""ERROR_INVALID_PARAMETER: what OpenProcess says of a number that no process has."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process. `started` tells processes of one number apart, empty where it is not known."""

    pid: int
    started: str


def this_process() -> Owner:
    """The process that asks."""
    return _this(os.getpid())


@cache
def _this(pid: int) -> Owner:
    return Owner(pid, _started(pid) or "")


def is_gone(owner: Owner) -> bool:
    """Whether a process has ended, as far as that can be told; in doubt it has not."""
    return has_ended(owner) is True


def has_ended(owner: Owner) -> bool | None:
    """Whether a process has ended; None where that cannot be told from here."""
    if owner == this_process():
        return False
    if not owner.started or not _comparable(owner.started):
        return None  # of another container, whose numbers mean nothing here
    found = _started(owner.pid)
    return None if found == "" else found != owner.started  # empty: it could not be asked


def had_number(pid: int, at: float) -> bool:
    """Whether the process of this number was there at a time, in Unix seconds; in doubt it was.

    Only Windows tells since when; elsewhere what is asked has a socket that answers.
    """
    started = _started(pid)
    if started is None:
        return False
    return sys.platform != "win32" or not started or int(started) / 10**7 - _EPOCH_S <= at


if sys.platform == "linux":

    @cache
    def _machine() -> str:
        """The boot and the space of process numbers."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116 - not followed twice

    def _started(pid: int) -> str | None:
        """When a process started, None where there is none; proc(5), field 22."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
        except OSError:
            return None
        fields = text.rpartition(")")[2].split()
        state, ticks = fields[0], fields[19]
        return None if state in ("Z", "X") else f"{_machine()}/{ticks}"

    def _comparable(started: str) -> bool:
        """Of this boot and this space of numbers; another boot is told by the caller's `!=`."""
        boot, space = _machine().split("/")
        theirs = started.split("/")
        return theirs[0] != boot or theirs[1] == space

elif sys.platform == "win32":
    import ctypes

    def _started(pid: int) -> str | None:
        """When a process started, in 100 ns since 1601; GetProcessTimes and its neighbours.

        A program that tells it would take a second, and this is asked inside of transactions.
        """
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = ctypes.c_void_p
        handle = ctypes.c_void_p(kernel.OpenProcess(_QUERY_LIMITED | _SYNCHRONIZE, False, pid))
        if not handle.value:
            return None if ctypes.get_last_error() == _NO_SUCH_PROCESS else ""
        try:
            # Who holds a handle keeps a process known that has ended.
            if kernel.WaitForSingleObject(handle, 0) == 0:
                return None
            times = [ctypes.c_uint64() for _ in range(4)]
            good = kernel.GetProcessTimes(handle, *(ctypes.byref(one) for one in times))
            return str(times[0].value) if good else ""
        finally:
            kernel.CloseHandle(handle)

    def _comparable(started: str) -> bool:
        return bool(started)

else:

    def _started(pid: int) -> str | None:
        """When a process started, as the system's own tool says it."""
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
        try:
            found = subprocess.run(  # noqa: S603 - a number is all that varies
                command, capture_output=True, text=True, check=False, timeout=10
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return found.stdout.strip() or None

    def _comparable(started: str) -> bool:
        return bool(started)

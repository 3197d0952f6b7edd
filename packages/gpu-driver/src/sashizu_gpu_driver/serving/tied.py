"""Ends a server with all that it started when the process that keeps it ends, however that ends.

On Windows the keeper is in a job object, and so is what it starts: the system ends what is in it
when the last handle is closed, which the keeper's end does. Elsewhere a shell waits at a pipe that
only the keeper can write to: its end closes the pipe, and the shell ends the server's group. Linux
ends the server itself too, also where the shell was killed before.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["Guard", "dies_with_us", "tie_children"]

PR_SET_PDEATHSIG = 1
"""prctl(2), <linux/prctl.h>."""

_SCRIPT = """
read -r word && [ "$word" = over ] && exit 0
kill -TERM "-$1"
sleep 2
kill -KILL "-$1"
"""
"""Reads until it is told that all is over, or the pipe is closed; then ends the group `$1`."""

_EXTENDED_LIMITS = 9
_KILL_ON_CLOSE = 0x2000
"""JobObjectExtendedLimitInformation and JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, winnt.h."""


class Guard:
    """Ends the group of processes `group` when this process ends before it has said `over`."""

    def __init__(self, group: int) -> None:
        self._shell = subprocess.Popen(  # noqa: S603 - a number is all that varies
            ["/bin/sh", "-c", _SCRIPT, "sh", str(group)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def over(self) -> None:
        """The group has ended: leave its number to others."""
        assert self._shell.stdin is not None
        with suppress(BrokenPipeError), self._shell.stdin as pipe:
            pipe.write(b"over\n")
        self._shell.wait()


def dies_with_us() -> Callable[[], None] | None:
    """On Linux: what a child does before it runs, to be killed when this process ends."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class _BasicLimits(ctypes.Structure):
    """`JOBOBJECT_BASIC_LIMIT_INFORMATION` of winnt.h."""

    _fields_ = (
        *(("process_time", ctypes.c_int64), ("job_time", ctypes.c_int64)),
        ("flags", ctypes.c_uint32),
        *(("least_working_set", ctypes.c_size_t), ("most_working_set", ctypes.c_size_t)),
        ("active_processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        *(("priority_class", ctypes.c_uint32), ("scheduling_class", ctypes.c_uint32)),
    )


class _ExtendedLimits(ctypes.Structure):
    """`JOBOBJECT_EXTENDED_LIMIT_INFORMATION` of winnt.h."""

    _fields_ = (
        ("basic", _BasicLimits),
        ("io", ctypes.c_uint64 * 6),
        *(("process_memory", ctypes.c_size_t), ("job_memory", ctypes.c_size_t)),
        *(("peak_process_memory", ctypes.c_size_t), ("peak_job_memory", ctypes.c_size_t)),
    )


def tie_children(kernel: Any = None) -> None:
    """On Windows: have all that this process starts from now on end with it; elsewhere nothing.

    The handle of the job is never closed here, so the system does that.

    Raises:
        OSError: the system refuses.
    """
    if kernel is None:
        if sys.platform == "win32":
            kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        else:
            return
    for name in ("CreateJobObjectW", "GetCurrentProcess"):
        getattr(kernel, name).restype = ctypes.c_void_p
    job = ctypes.c_void_p(kernel.CreateJobObjectW(None, None))
    wanted = _ExtendedLimits(basic=_BasicLimits(flags=_KILL_ON_CLOSE))
    size = ctypes.sizeof(wanted)
    if (
        not job.value
        or not kernel.SetInformationJobObject(job, _EXTENDED_LIMITS, ctypes.byref(wanted), size)
        or not kernel.AssignProcessToJobObject(job, ctypes.c_void_p(kernel.GetCurrentProcess()))
    ):
        code = kernel.GetLastError()
        raise OSError(code, f"a job object that ends its server is refused (error {code})")

"""Job objects of Windows: they end a program together with all that it started.

A job holds neither files nor connections, so it is no sandbox, and says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, Process
from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement, ProcessLimits, Sandbox, SandboxInfo

__all__ = [
    "ExtendedLimits",
    "InJob",
    "Job",
    "child_in_job",
    "extended_limits",
    "open_jobs",
    "probe_jobs",
]

_KILL_ON_CLOSE = 0x2000
_DIE_ON_UNHANDLED = 0x0400
_PROCESS_MEMORY = 0x0100
_ACTIVE_PROCESSES = 0x0008
_PROCESS_TIME = 0x0002

_EXTENDED_LIMITS = 9
_ACCESS = 0x0001 | 0x0100 | 0x0800 | 0x00100000
"""To end it, to put it into a job, to let it go on, and to wait for it."""

_CREATE_SUSPENDED = 0x0004
_FOREVER = 0xFFFFFFFF
_KILLED = 1
_TICKS = 10_000_000
"""Of 100 ns, in a second."""

_END_S = 20.0


class _BasicLimits(ctypes.Structure):
    """`JOBOBJECT_BASIC_LIMIT_INFORMATION` of winnt.h."""

    _fields_ = (
        ("process_time", ctypes.c_int64),
        ("job_time", ctypes.c_int64),
        ("flags", ctypes.c_uint32),
        ("minimum_working_set", ctypes.c_size_t),
        ("maximum_working_set", ctypes.c_size_t),
        ("active_processes", ctypes.c_uint32),
        ("affinity", ctypes.c_size_t),
        ("priority_class", ctypes.c_uint32),
        ("scheduling_class", ctypes.c_uint32),
    )


class ExtendedLimits(ctypes.Structure):
    """`JOBOBJECT_EXTENDED_LIMIT_INFORMATION` of winnt.h."""

    _fields_ = (
        ("basic", _BasicLimits),
        ("io", ctypes.c_uint64 * 6),
        ("process_memory", ctypes.c_size_t),
        ("job_memory", ctypes.c_size_t),
        ("peak_process_memory", ctypes.c_size_t),
        ("peak_job_memory", ctypes.c_size_t),
    )


def extended_limits(limits: ProcessLimits) -> ExtendedLimits:
    """The limits of a job; of a file's size and of open files there are none on Windows."""
    flags = _KILL_ON_CLOSE | _DIE_ON_UNHANDLED | _PROCESS_MEMORY | _ACTIVE_PROCESSES | _PROCESS_TIME
    basic = _BasicLimits(
        process_time=limits.cpu_s * _TICKS, flags=flags, active_processes=limits.processes
    )
    return ExtendedLimits(basic=basic, process_memory=limits.memory_bytes)


def probe_jobs() -> SandboxInfo:
    """Say why no program is held on Windows."""
    return SandboxInfo(
        "windows-job",
        "none",
        "a job object holds neither files nor connections, so no program is started",
        "start sashizu in WSL; the tools that work on files need no sandbox",
    )


def open_jobs() -> AbstractAsyncContextManager[Sandbox]:
    """Refuse.

    Raises:
        SandboxError: always; a job is no sandbox.
    """
    raise SandboxError(probe_jobs().reason)


class Job:
    """One job object; what is in it ends when it is closed, also when we end."""

    def __init__(self, limits: ProcessLimits) -> None:
        self._kernel: Any = getattr(ctypes, "WinDLL")("kernel32", use_last_error=True)  # noqa: B009
        self._native: Any = getattr(ctypes, "WinDLL")("ntdll")  # noqa: B009
        for name in ("CreateJobObjectW", "OpenProcess"):
            getattr(self._kernel, name).restype = ctypes.c_void_p
        self._handles: list[ctypes.c_void_p] = []
        self._job = self._opened(self._kernel.CreateJobObjectW(None, None))
        wanted = extended_limits(limits)
        self._checked(
            self._kernel.SetInformationJobObject(
                self._job, _EXTENDED_LIMITS, ctypes.byref(wanted), ctypes.sizeof(wanted)
            )
        )

    def take(self, pid: int) -> ctypes.c_void_p:
        """Put a suspended process into the job, and let it go on; its handle."""
        process = self._opened(self._kernel.OpenProcess(_ACCESS, False, pid))
        self._checked(self._kernel.AssignProcessToJobObject(self._job, process))
        self._native.NtResumeProcess(process)
        return process

    def wait_for(self, process: ctypes.c_void_p) -> None:
        """Block until a process has ended."""
        self._kernel.WaitForSingleObject(process, _FOREVER)

    def kill(self) -> None:
        if self._handles:
            self._kernel.TerminateJobObject(self._job, _KILLED)

    def close(self) -> None:
        while self._handles:
            self._kernel.CloseHandle(self._handles.pop())

    def _opened(self, handle: int | None) -> ctypes.c_void_p:
        self._checked(handle or 0)
        opened = ctypes.c_void_p(handle)
        self._handles.append(opened)
        return opened

    def _checked(self, done: int) -> None:
        if not done:
            number = getattr(ctypes, "get_last_error")()  # noqa: B009
            self.close()
            raise SandboxError(f"the job object could not be made: Windows error {number}")


class InJob:
    """A program in a job."""

    def __init__(self, process: Process, job: Job, handle: ctypes.c_void_p) -> None:
        self._process = process
        self._job = job
        self._handle = handle

    @property
    def stdin(self) -> ByteSendStream | None:
        return self._process.stdin

    @property
    def stdout(self) -> ByteReceiveStream:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def stderr(self) -> ByteReceiveStream:
        assert self._process.stderr is not None
        return self._process.stderr

    async def wait(self) -> int:
        await anyio.to_thread.run_sync(self._job.wait_for, self._handle, abandon_on_cancel=True)
        self._job.kill()  # what it left behind
        return await self._process.wait()

    def kill(self) -> None:
        self._job.kill()


@asynccontextmanager
async def child_in_job(
    argv: Sequence[str], confinement: Confinement, *, stdin: bool
) -> AsyncIterator[InJob]:
    """Start a program in a job of its own.

    Raises:
        SandboxError: it could not be started.
    """
    if not argv or not Path(argv[0]).is_absolute():
        raise SandboxError("the first word of a command has to be the absolute path of a program")
    job = Job(confinement.limits)
    try:
        async with await anyio.open_process(
            list(argv),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            cwd=confinement.cwd,
            env=dict(confinement.environment),
            creationflags=_CREATE_SUSPENDED,
        ) as process:
            try:
                yield InJob(process, job, job.take(process.pid))
            finally:
                job.kill()
                with contextlib.suppress(ProcessLookupError):
                    process.kill()  # if it could not be put into the job
                with anyio.move_on_after(_END_S, shield=True):
                    await process.wait()
    except (OSError, ValueError) as error:
        raise SandboxError(f"{argv[0]!r} cannot be started: {error}") from error
    finally:
        job.close()

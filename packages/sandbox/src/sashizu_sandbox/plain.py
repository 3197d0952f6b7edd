"""A program as an ordinary child of ours, in a session of its own. For systems of POSIX."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement

from sashizu_sandbox.streams import PipeReader, PipeWriter

__all__ = ["PlainProcess", "child"]

_END_S = 20.0


class PlainProcess:
    """A child of ours, ended by `end`, else with its process group, which a program can leave."""

    def __init__(self, process: subprocess.Popen[bytes], end: Callable[[], None] | None) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._end = end or self._kill_group
        self._waiting = anyio.Lock()
        self._stdout = PipeReader(os.dup(process.stdout.fileno()))
        self._stderr = PipeReader(os.dup(process.stderr.fileno()))
        self._stdin = None if process.stdin is None else PipeWriter(os.dup(process.stdin.fileno()))
        for file in (process.stdin, process.stdout, process.stderr):
            if file is not None:
                file.close()

    @property
    def stdin(self) -> PipeWriter | None:
        return self._stdin

    @property
    def stdout(self) -> PipeReader:
        return self._stdout

    @property
    def stderr(self) -> PipeReader:
        return self._stderr

    async def wait(self) -> int:
        async with self._waiting:
            if self._process.returncode is None:
                await _ended(self._process)
                self._kill_group()  # what it left behind
            return self._process.wait()

    def kill(self) -> None:
        if self._process.returncode is None:
            self._end()

    def close(self) -> None:
        for stream in (self._stdin, self._stdout, self._stderr):
            if stream is not None:
                stream.close()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


async def _ended(process: subprocess.Popen[bytes]) -> None:
    """Wait until a child has ended; on Linux without taking its status, so its number stays its."""
    if sys.platform == "linux":
        handle = os.pidfd_open(process.pid)
        try:
            await anyio.wait_readable(handle)
        finally:
            os.close(handle)
    else:
        await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)


def _spawn(
    argv: Sequence[str], confinement: Confinement, *, stdin: bool, pass_fds: Sequence[int]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - judged before, and without a shell
            list(argv),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=confinement.cwd,
            env=dict(confinement.environment),
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except (OSError, ValueError) as error:
        raise SandboxError(f"{argv[0]!r} cannot be started: {error}") from error


@asynccontextmanager
async def child(
    argv: Sequence[str],
    confinement: Confinement,
    *,
    stdin: bool,
    pass_fds: Sequence[int] = (),
    end: Callable[[], None] | None = None,
) -> AsyncIterator[PlainProcess]:
    """Start a program with what a confinement says of folder and environment, and nothing else.

    Raises:
        SandboxError: it could not be started.
    """
    if not argv or not Path(argv[0]).is_absolute():
        raise SandboxError("the first word of a command has to be the absolute path of a program")
    process = _spawn(argv, confinement, stdin=stdin, pass_fds=pass_fds)
    started = PlainProcess(process, end)
    try:
        yield started
    finally:
        started.kill()
        with anyio.move_on_after(_END_S, shield=True):
            await started.wait()
        started.close()

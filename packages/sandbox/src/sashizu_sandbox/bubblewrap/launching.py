"""Our end of the launcher: starts it when it is first needed, and hands it requests."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from sashizu_core.errors import SandboxError

import sashizu_sandbox
from sashizu_sandbox.bubblewrap import passing
from sashizu_sandbox.bubblewrap.kernel import memory_file
from sashizu_sandbox.bubblewrap.process import HeldProcess
from sashizu_sandbox.streams import PipeReader, PipeWriter

__all__ = ["LauncherLink"]

_PROGRAM = """
import sys
sys.path.append(sys.argv[1])
from sashizu_sandbox.bubblewrap.launcher import main
main(int(sys.argv[2]))
"""


class LauncherLink:
    """The launcher of one open sandbox."""

    def __init__(self, filter_program: bytes) -> None:
        self._filter_program = filter_program
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._filter = -1

    def request(self, description: Mapping[str, Any], *, stdin: bool) -> HeldProcess:
        """Have a program started; `HeldProcess.started` says whether it was.

        Raises:
            SandboxError: there is no launcher, or no descriptor left.
        """
        try:
            return self._request(description, stdin=stdin)
        except OSError as error:
            raise SandboxError(f"the sandbox could not be set up: {error}") from error

    async def aclose(self) -> None:
        """End the launcher and whatever it still holds."""
        self._hang_up()
        if self._process is not None:
            await anyio.to_thread.run_sync(self._process.wait)
            self._process = None

    def _hang_up(self) -> None:
        if self._requests is not None:
            self._requests.close()
            self._requests = None
            os.close(self._filter)

    def _request(self, description: Mapping[str, Any], *, stdin: bool) -> HeldProcess:
        if self._process is not None and self._process.poll() is not None:
            self._hang_up()  # somebody has killed it
        requests = self._requests or self._start()
        control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        given = [theirs.detach()]
        kept: list[int] = []
        try:
            if stdin:
                read, write = os.pipe()
                given.append(read)
                kept.append(write)
            else:
                given.append(os.open(os.devnull, os.O_RDONLY))
            for _ in range(2):
                read, write = os.pipe()
                given.append(write)
                kept.append(read)
            given.append(memory_file(json.dumps(description).encode()))
            # Opened anew, because it is read from where another reader left off otherwise.
            given.append(os.open(f"/proc/self/fd/{self._filter}", os.O_RDONLY))
            passing.send(requests, b"+", given)
        except OSError:
            control.close()
            for fd in kept:
                os.close(fd)
            raise
        finally:
            for fd in given:
                os.close(fd)
        *write_ends, out, err = kept
        writer = PipeWriter(write_ends[0]) if write_ends else None
        return HeldProcess(control, writer, PipeReader(out), PipeReader(err))

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            folder = Path(sashizu_sandbox.__file__).parent.parent
            argv = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(folder), str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={},
                cwd="/",
                start_new_session=True,
            )
        self._filter = memory_file(self._filter_program)
        self._requests = ours
        return ours

"""A program in its sandbox, as seen from outside."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import Any

import anyio
from sashizu_core.errors import SandboxError

from sashizu_sandbox.bubblewrap import passing
from sashizu_sandbox.streams import PipeReader, PipeWriter

__all__ = ["HeldProcess"]

_BY_SIGNAL = 128
_SIGNALS = frozenset(signal.valid_signals())


class HeldProcess:
    """What the launcher tells of one program; closing the control socket ends it."""

    def __init__(
        self,
        control: socket.socket,
        stdin: PipeWriter | None,
        stdout: PipeReader,
        stderr: PipeReader,
    ) -> None:
        control.setblocking(False)
        self._control = control
        self._stdin = stdin
        self._stdout = stdout
        self._stderr = stderr
        self._listening = anyio.Lock()
        self._outcome: dict[str, Any] | None = None
        self._init = -1

    @property
    def stdin(self) -> PipeWriter | None:
        return self._stdin

    @property
    def stdout(self) -> PipeReader:
        return self._stdout

    @property
    def stderr(self) -> PipeReader:
        return self._stderr

    async def started(self) -> list[socket.socket]:
        """Wait until it runs; the listeners inside of its network, in the order asked for.

        Raises:
            SandboxError: it was not started; why.
        """
        message, fds = await self._message()
        if message.get("started"):
            self._init, *listeners = fds
            return [socket.socket(fileno=fd) for fd in listeners]
        self._outcome = message
        said = self._stderr.read_now().decode("utf-8", "replace").strip()
        reason = message.get("error") or said or f"bubblewrap ended with {message.get('status')}"
        raise SandboxError(f"the sandbox could not be set up: {reason}")

    async def wait(self) -> int:
        """Wait until it has ended, with everything that it started.

        A status above 128 is taken as a signal, as a shell would show it.
        """
        async with self._listening:
            if self._outcome is None:
                self._outcome, _ = await self._message()
        status = int(self._outcome.get("exit-code", self._outcome.get("status", -signal.SIGKILL)))
        if status - _BY_SIGNAL in _SIGNALS:
            return _BY_SIGNAL - status
        return status

    def kill(self) -> None:
        with contextlib.suppress(OSError):  # it has ended
            self._control.send(b"k")

    async def end(self) -> None:
        """Kill it, wait until nothing of it is left, and let go of everything."""
        try:
            self.kill()
            await self.wait()
        finally:
            self.close()

    def _kill_ourselves(self) -> None:
        """End a program whose launcher was killed.

        Its processes die with bubblewrap, which dies with the launcher: but for those of a program
        that was started in that very moment.
        """
        if self._init >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)

    def close(self) -> None:
        anyio.notify_closing(self._control)
        self._control.close()
        if self._init >= 0:
            os.close(self._init)
            self._init = -1
        for stream in (self._stdin, self._stdout, self._stderr):
            if stream is not None:
                stream.close()

    async def _message(self) -> tuple[dict[str, Any], list[int]]:
        """The launcher's next word; one of our own if there is no launcher any more."""
        while True:
            try:
                data, fds = passing.receive(self._control)
            except BlockingIOError:
                await anyio.wait_readable(self._control)
                continue
            except OSError:
                data, fds = b"", []
            if not data:
                self._kill_ourselves()
                return {"error": "its launcher is gone", "status": -signal.SIGKILL}, []
            return json.loads(data), fds

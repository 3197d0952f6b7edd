"""The process that starts held programs, ends them, and cleans up behind them.

It is run by `python -I -S`, knows only the standard library and its neighbours, and gets each
request over a socket: a description in JSON, and descriptors. It ends, with all that it started,
when that socket is closed, however its parent died.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from sashizu_sandbox.bubblewrap import kernel, limits, passing, reaching
from sashizu_sandbox.bubblewrap.guards import Guards
from sashizu_sandbox.bubblewrap.sources import check_shown, close_all
from sashizu_sandbox.bubblewrap.spawning import Descriptors, Spawned, spawn
from sashizu_sandbox.bubblewrap.staging import Stage

__all__ = ["main"]

_CHUNK = 65536


class Launcher:
    """Waits for requests, and for what becomes of the programs."""

    def __init__(self, requests: socket.socket) -> None:
        self._requests = requests
        self._poll = select.poll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._held: set[Held] = set()
        self._stage: Stage | None = None
        self.guards = Guards()
        self._open = True

    def run(self) -> None:
        self.watch(self._requests.fileno(), self._request)
        while self._open or self._held:
            for fd, _ in self._poll.poll():
                if fd in self._ready:  # an earlier one of this round may have closed it
                    self._ready[fd]()

    def watch(self, fd: int, call: Callable[[], None], events: int = select.POLLIN) -> None:
        self._ready[fd] = call
        self._poll.register(fd, events)

    def watches(self, fd: int) -> bool:
        return fd in self._ready

    def forget(self, fd: int) -> None:
        if self._ready.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def ended(self, held: Held) -> None:
        self._held.discard(held)

    def show(self, paths: dict[str, str]) -> None:
        """Show paths to the user that programs of root run as."""
        if self._stage is None:
            self._stage = Stage()
        self._stage.show(paths)

    def _request(self) -> None:
        fds: list[int] = []
        try:
            data, fds = passing.receive(self._requests, wait=False)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._open = False
            self.forget(self._requests.fileno())
            for held in list(self._held):
                held.kill()
            return
        Held(self, Descriptors(*fds), self._held)


class Held:
    """One program, from the request to its end."""

    def __init__(self, launcher: Launcher, given: Descriptors, family: set[Held]) -> None:
        self._launcher = launcher
        self._control = socket.socket(fileno=given.control)
        self._guards: dict[str, int] = {}
        self._listeners: list[int] = []
        self._init: tuple[int, int] | None = None  # process id, and descriptor
        self._outcome: dict[str, Any] = {}
        self._said = b""
        self._killed = False
        self._started = False
        self._spawned: Spawned | None = None
        self._user: int | None = None
        try:
            self._request = json.loads(_read_all(given.description))
            self._guards = launcher.guards.hold(self._request["guards"])
            self._user = kernel.dropped_user() if self._request["staged"] else None
            if self._user is not None:
                launcher.show(self._request["staged"])
            self._spawned = spawn(self._request, given, self._user)
        except (OSError, ValueError, KeyError) as error:
            self._outcome = {"error": str(error)}
            self._tell(self._outcome)
            self._close()
            return
        finally:
            given.close()
        family.add(self)
        launcher.watch(self._control.fileno(), self._on_control)
        launcher.watch(self._spawned.status, self._on_status)
        launcher.watch(self._spawned.handle, self._on_exit)
        if self._spawned.halted >= 0:
            launcher.watch(self._spawned.halted, self._on_mounted, select.POLLOUT)

    def kill(self) -> None:
        """End everything in the sandbox; what was not even set up yet, as soon as it is."""
        self._killed = True
        if self._init is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init[1], signal.SIGKILL)

    def _on_control(self) -> None:
        try:
            data = self._control.recv(_CHUNK)
        except OSError:
            data = b""
        if not data:
            self._launcher.forget(self._control.fileno())
        self.kill()

    def _on_status(self) -> None:
        assert self._spawned is not None
        data = os.read(self._spawned.status, _CHUNK)
        if not data:
            self._launcher.forget(self._spawned.status)
            return
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            said = json.loads(line)
            self._outcome.update(said)
            if "child-pid" in said:
                self._release(said["child-pid"])

    def _release(self, pid: int) -> None:
        """Set the limits of what is to come, and let it come."""
        assert self._spawned is not None
        try:
            self._init = (pid, os.pidfd_open(pid))
            limits.put(pid, self._request["limits"], self._user)
            for port in self._request["ports"]:
                self._listeners.append(reaching.listen_inside(pid, port))
        except OSError as error:
            self._outcome["error"] = str(error)
            self._killed = True
        if self._killed:
            self.kill()
            return
        os.write(self._spawned.gate, b"x")
        self._launcher.watch(self._spawned.gate, self._on_gate, select.POLLOUT)

    def _on_mounted(self) -> None:
        """Let it go on if what it mounted is what was to be mounted; or it is no more."""
        assert self._spawned is not None
        self._launcher.forget(self._spawned.halted)
        if self._init is None and self._launcher.watches(self._spawned.status):
            self._on_status()  # said before anything was mounted
        if self._init is not None and not self._killed:
            try:
                check_shown(self._spawned.compared, f"/proc/{self._init[0]}/root/newroot")
            except OSError as error:
                if not _is_over(self._spawned.halted):
                    self._outcome["error"] = str(error)
                self.kill()
        self._let_go_of_mounts()

    def _let_go_of_mounts(self) -> None:
        """Let bubblewrap go on; what is killed by then does not get far."""
        if self._spawned is not None and self._spawned.halted >= 0:
            os.close(self._spawned.halted)
            close_all(self._spawned.compared)
            self._spawned = replace(self._spawned, compared=(), halted=-1)

    def _on_gate(self) -> None:
        """What bubblewrap waited for was read, so all is in place; or it is no more."""
        assert self._spawned is not None
        self._launcher.forget(self._spawned.gate)
        readers = select.poll()
        readers.register(self._spawned.gate, select.POLLOUT)
        if any(event & select.POLLOUT for _, event in readers.poll(0)) and not self._killed:
            self._tell_of_start()

    def _on_exit(self) -> None:
        """What started the sandbox has ended; the sandbox itself may live a moment longer."""
        assert self._spawned is not None
        self._launcher.forget(self._spawned.handle)
        _, status = os.waitpid(self._spawned.pid, 0)
        self._outcome["status"] = os.waitstatus_to_exitcode(status)
        while self._launcher.watches(self._spawned.status):
            self._on_status()
        if self._init is None:
            self._finish()
            return
        self.kill()
        self._launcher.watch(self._init[1], self._finish)

    def _finish(self) -> None:
        if self._init is not None:
            self._launcher.forget(self._init[1])
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._init[0], 0)
        self._outcome["ended"] = True
        if "exit-code" in self._outcome and not self._started:  # too quick for us to see it start
            self._tell_of_start()
        self._close()

    def _tell_of_start(self) -> None:
        """Say that it runs, and hand out what ends it should this process be killed."""
        assert self._init is not None
        self._started = True
        fds = [self._init[1], *self._listeners]
        self._tell({"started": True}, fds)

    def _tell(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            passing.send(self._control, json.dumps(message).encode(), list(fds))

    def _close(self) -> None:
        self._launcher.guards.let_go(self._guards)
        if self._outcome.get("ended"):
            self._tell(self._outcome)
        if self._spawned is not None:
            self._launcher.forget(self._spawned.halted)
            self._let_go_of_mounts()
            for fd in (self._spawned.status, self._spawned.gate, self._spawned.handle):
                self._launcher.forget(fd)
                os.close(fd)
        for fd in self._listeners:
            os.close(fd)
        if self._init is not None:
            os.close(self._init[1])
        self._launcher.forget(self._control.fileno())
        self._control.close()
        self._launcher.ended(self)


def _is_over(pipe: int) -> bool:
    """Whether nobody reads a pipe any more."""
    readers = select.poll()
    readers.register(pipe, 0)
    return any(event & select.POLLERR for _, event in readers.poll(0))


def _read_all(fd: int) -> bytes:
    with os.fdopen(os.dup(fd), "rb") as file:
        file.seek(0)
        return file.read()


def main(fd: int) -> None:
    """Serve the socket `fd` until it is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # a person's Ctrl-C is the parent's to answer
    kernel.ignored_signals()  # looked up once, and not in every copy
    os.set_inheritable(fd, False)
    kernel.adopt_orphans()
    gc.freeze()  # forked copies are to share what is here
    Launcher(socket.socket(fileno=fd)).run()

"""Starts bubblewrap from the launcher."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from sashizu_sandbox.bubblewrap import kernel
from sashizu_sandbox.bubblewrap.sources import COVERED, Opened, close_all, open_sources

__all__ = ["Descriptors", "Spawned", "spawn"]

_EMPTY = "{empty}"

_COPIED = "/dev/mounted"
"""A file in the sandbox that nobody needs; its file system is bubblewrap's own."""


@dataclass(frozen=True, slots=True)
class Descriptors:
    """What comes with a request."""

    control: int
    stdin: int
    stdout: int
    stderr: int
    description: int
    filter: int

    def close(self) -> None:
        """Close all but the control socket, which lives on."""
        for fd in (self.stdin, self.stdout, self.stderr, self.description, self.filter):
            os.close(fd)


@dataclass(frozen=True, slots=True)
class Spawned:
    """A started bubblewrap.

    `handle` is a descriptor of the process, `status` gives what it says of itself; it goes on when
    something is written to `gate`, which can be written to again once it was read.

    Where it cannot be given descriptors of what it shows, `compared` is what is to be compared with
    what it mounted, as soon as `halted` can be written to; it goes on when that is closed.
    """

    pid: int
    handle: int
    status: int
    gate: int
    compared: tuple[Opened, ...] = ()
    halted: int = -1


def spawn(request: dict[str, Any], given: Descriptors, user: int | None) -> Spawned:
    """Start bubblewrap as a request says, and as another user if root is to.

    Raises:
        OSError: it could not be started, or what it should show has been replaced.
    """
    opened = open_sources(request["sources"])
    try:
        started = _spawn(request, given, user, opened)
    except OSError:
        close_all(opened)
        raise
    if not started.compared:
        close_all(opened)
    return started


def _spawn(
    request: dict[str, Any], given: Descriptors, user: int | None, opened: list[Opened]
) -> Spawned:
    halted = -1
    shown: list[int] = []
    status_r, status_w = os.pipe()
    gate_r, gate_w = os.pipe()
    kernel.shrink_to_one_write(gate_w)
    inner = [status_w, gate_r]
    try:
        words = list(request["words"])
        if request["descriptors"]:
            shown = _show_descriptors(words, opened)
        else:
            halt, halted = _halt_when_mounted(words, request["mounted"])
            inner.append(halt)
        words, empty = _with_descriptors(words)
        inner += empty
        words += ["--seccomp", str(given.filter), "--json-status-fd", str(status_w)]
        words += ["--block-fd", str(gate_r)]
        arguments = kernel.memory_file("\0".join((*words, "")).encode("utf-8", "surrogateescape"))
        inner.append(arguments)
        argv = [request["bubblewrap"], "--args", str(arguments), "--", *request["argv"]]
        with nullcontext() if user is None else kernel.acting_as(user):
            pid = _become(argv, given, (*inner, *shown, given.filter))
        compared = () if request["descriptors"] else tuple(opened)
        return Spawned(pid, os.pidfd_open(pid), status_r, gate_w, compared, halted)
    except OSError:
        for fd in (status_r, gate_w, *([] if halted < 0 else [halted])):
            os.close(fd)
        raise
    finally:
        for fd in inner:
            os.close(fd)


def _show_descriptors(words: list[str], opened: Iterable[Opened]) -> list[int]:
    """Say descriptors instead of paths; those that bubblewrap has to get."""
    given = []
    for source, fd in opened:
        if source.at != COVERED:
            words[source.at] += "-fd"
            words[source.at + 1] = str(fd)
            given.append(fd)
    return given


def _halt_when_mounted(words: list[str], at: int) -> tuple[int, int]:
    """Let bubblewrap copy a pipe as soon as all is mounted: it waits there until that ends.

    Both ends: who waits is known by the pipe, which is full, becoming empty.
    """
    read, write = os.pipe()
    kernel.shrink_to_one_write(write)
    os.write(write, b"\n" * kernel.ONE_WRITE_BYTES)
    words[at:at] = ["--perms", "0000", "--file", str(read), _COPIED]
    return read, write


def _with_descriptors(words: Iterable[str]) -> tuple[list[str], list[int]]:
    """Put a descriptor of an empty file at each place that asks for one."""
    opened: list[int] = []
    put = []
    previous = ""
    for word in words:
        if word == _EMPTY and previous == "--ro-bind-data":
            opened.append(os.open(os.devnull, os.O_RDONLY))
            put.append(str(opened[-1]))
        else:
            put.append(word)
        previous = word
    return put, opened


def _become(argv: list[str], given: Descriptors, kept: Iterable[int]) -> int:
    """Start bubblewrap without copying this process.

    All that is open here is closed by the change, but for what is put onto itself. Whoever root
    acts as is who bubblewrap is for good: the change forgets that it was root.
    """
    changes = [
        *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in kept),
        (os.POSIX_SPAWN_DUP2, given.stdin, 0),
        (os.POSIX_SPAWN_DUP2, given.stdout, 1),
        (os.POSIX_SPAWN_DUP2, given.stderr, 2),
    ]
    return os.posix_spawn(
        argv[0], argv, {}, file_actions=changes, setsigdef=kernel.ignored_signals()
    )

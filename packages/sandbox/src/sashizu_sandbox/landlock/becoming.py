"""Starts a program that Landlock holds, and watches over it; run by `python -I -S`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["become", "best_version"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVILEGES = 38
_SET_SECCOMP, _FILTER = 22, 2
_CHILD_SUBREAPER = 36
_TCP = 3
_SCOPES = 3
_RIGHTS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""The rights to files that each version added."""

_libc = ctypes.CDLL(None, use_errno=True)


def best_version() -> int:
    """The version that the kernel has, 0 without Landlock."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)))


def _done(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), what)
    return result


def _restrict(rules: Iterable[tuple[str, int]], of_a_file: int) -> None:
    version = best_version()
    handled = sum(rights for since, rights in _RIGHTS if since <= version)
    scopes = _SCOPES if version >= 6 else 0
    attributes = struct.pack("=QQQ", handled, _TCP, scopes)
    size = ctypes.c_size_t(len(attributes) if scopes else 16)
    ruleset = _done(_libc.syscall(_CREATE_RULESET, attributes, size, 0), "make rules")
    for path, rights in rules:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        possible = handled if Path(path).is_dir() else handled & of_a_file
        rule = struct.pack("=Qi", rights & possible, fd)
        _done(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), path)
        os.close(fd)
    _done(_libc.syscall(_RESTRICT_SELF, ruleset, 0), "restrict")


def _filter(program: bytes) -> None:
    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    code = Program(len(program) // 8, program)
    _done(_libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(code), 0, 0), "filter system calls")


def become(request: dict[str, Any]) -> None:
    """Limit, restrict and filter this process, and run the program.

    Raises:
        OSError: something of it could not be done.
    """
    for name, value in request["limits"].items():
        limit = getattr(resource, name)
        _, hard = resource.getrlimit(limit)
        asked = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (asked, asked))
    _done(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    _restrict(request["rules"], request["of_a_file"])
    _filter(bytes.fromhex(request["filter"]))
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    os.execve(request["argv"][0], request["argv"], request["environment"])  # noqa: S606 - no shell


def _children(pid: int) -> list[int]:
    try:
        return [
            int(number)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for number in (task / "children").read_text("ascii").split()
        ]
    except OSError:
        return []  # it ended meanwhile


def _end_all() -> None:
    """Kill every descendant; those whose parent has ended are children of ours by then."""
    while True:
        left = _children(os.getpid())
        for pid in left:
            left += _children(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, 0 if left else os.WNOHANG)[0]:
                pass
        if not left:
            return


def _watch_over(program: int, lifeline: int) -> NoReturn:
    """Wait for the program, or for the end of who asked for it; end all it started; end alike."""
    handle = os.pidfd_open(program)
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    waiting.register(lifeline, select.POLLIN)
    while not any(fd == handle for fd, _ in waiting.poll()):
        waiting.unregister(lifeline)  # nobody wants the program any more
        os.kill(program, signal.SIGKILL)
    _, status = os.waitpid(program, 0)
    _end_all()
    if os.WIFSIGNALED(status):
        with contextlib.suppress(OSError):  # of SIGKILL nothing can be changed
            signal.signal(os.WTERMSIG(status), signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def main() -> None:
    """Prepare a program in a child, and watch over it; the words are three descriptors."""
    description, ready, lifeline = map(int, sys.argv[1:4])
    with os.fdopen(description, "rb") as file:
        request = json.load(file)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _done(_libc.prctl(_CHILD_SUBREAPER, 1, 0, 0, 0), "adopt orphans")
    program = os.fork()
    if program:
        os.close(ready)
        os.closerange(0, 3)
        _watch_over(program, lifeline)
    os.close(lifeline)
    os.set_inheritable(ready, False)  # closed by the change: that is the sign that it was made
    try:
        become(request)
    except OSError as error:
        os.write(ready, str(error).encode())
    finally:
        os._exit(1)


if __name__ == "__main__":
    main()

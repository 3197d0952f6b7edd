"""The third layer around SQL: a process that can read the record and do nothing else any more.

On Linux by Landlock (nothing can be opened but for reading, and only in folders that are named),
by a filter of system calls (no socket, no other program) and by limits. It cannot be undone, so it
is for a process of its own.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["Held", "confine", "landlock_version", "stand_alone", "unsupported"]

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_READ_FILE = 1 << 2
_READ = _READ_FILE | 1 << 3
_RIGHTS = ((1, (1 << 13) - 1), (2, 1 << 13), (3, 1 << 14), (5, 1 << 15))
"""The rights to files that each version of Landlock knows first; all are taken."""
_TCP, _TCP_SINCE = 3, 4
_SCOPES, _SCOPES_SINCE = 3, 6

_HOW_MUCH_ROOM = (Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
"""DuckDB reads how much memory it may have, and aborts where it sees these and cannot."""

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_PARENT_DEATH_SIGNAL = 1
_MACHINES = {
    # AUDIT_ARCH_*, then socket, execve, ptrace, process_vm_readv, process_vm_writev, execveat and
    # io_uring_setup, by the tables of system calls of the kernel
    "x86_64": (0xC000003E, (41, 59, 101, 310, 311, 322, 425)),
    "aarch64": (0xC00000B7, (198, 221, 117, 270, 271, 281, 425)),
}
_LOAD, _IS, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001
_FOREIGN = 0x40000000
"""Numbers from here on are those of another kind of program (x32)."""

Held = str
"""Empty if everything holds, else what is missing, for a person."""


def landlock_version() -> int:
    """The version of Landlock that the kernel has, 0 without it."""
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    return max(0, int(libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)))


def unsupported() -> str:
    """Why a process cannot be held here; empty if it can."""
    if sys.platform != "linux":
        return f"Landlock is a part of Linux, and this is {platform.system() or sys.platform}"
    if not landlock_version():
        return f"the kernel {platform.release()} has no Landlock, or it is switched off"
    return ""


def confine(readable: Sequence[Path]) -> Held:
    """Take from this process everything but reading these folders; for good.

    Folders that are not there are passed over. Where the system has no Landlock, the rest is done.

    Raises:
        OSError: the system has it and refuses, or there are threads that it would not reach.
    """
    _limit()
    if sys.platform != "linux":
        return unsupported()
    if _threads() != 1:
        raise OSError("there are other threads, which could not be held any more")
    libc = ctypes.CDLL(None, use_errno=True)
    _done(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    missing = unsupported()
    if not missing:
        _restrict(libc, readable)
    _filter(libc)
    return missing


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))  # noqa: PTH208 - names alone


def stand_alone() -> None:
    """Go on in a child of this process where it has further threads; the child dies with it.

    Some versions of DuckDB start one as they are loaded, which the jail would not reach.
    """
    if sys.platform != "linux" or _threads() == 1:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    libc = ctypes.CDLL(None, use_errno=True)
    _done(libc.prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0), "end with its parent")


def _limit() -> None:
    """No file may grow, and what a crash leaves is not kept."""
    with suppress(ImportError):
        import resource

        for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
            resource.setrlimit(limit, (0, 0))


def _done(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _restrict(libc: ctypes.CDLL, readable: Sequence[Path]) -> None:
    version = landlock_version()
    handled = sum(rights for since, rights in _RIGHTS if since <= version)
    members = [handled]
    if version >= _TCP_SINCE:
        members.append(_TCP)
    if version >= _SCOPES_SINCE:
        members.append(_SCOPES)
    attributes = struct.pack(f"={len(members)}Q", *members)
    size = ctypes.c_size_t(len(attributes))
    ruleset = _done(libc.syscall(_CREATE_RULESET, attributes, size, 0), "make rules")
    try:
        for path in (*readable, *_HOW_MUCH_ROOM):
            with suppress(FileNotFoundError):
                # It stays open: an entry of /proc that nobody uses may be made anew, and the rule
                # is for this one.
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
                rule = struct.pack("=Qi", _READ if path.is_dir() else _READ_FILE, fd)
                _done(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0), str(path))
        _done(libc.syscall(_RESTRICT_SELF, ruleset, 0), "restrict")
    finally:
        os.close(ruleset)


def _filter(libc: ctypes.CDLL) -> None:
    """Refuse the system calls that reach others. Machines whose numbers are unknown go without."""
    if platform.machine() not in _MACHINES:
        return
    machine, refused = _MACHINES[platform.machine()]
    code = [(_LOAD, 0, 0, 4), (_IS, 1, 0, machine), (_RETURN, 0, 0, _REFUSE), (_LOAD, 0, 0, 0)]
    code.append((_AT_LEAST, len(refused) + 1, 0, _FOREIGN))
    code += [(_IS, len(refused) - place, 0, number) for place, number in enumerate(refused)]
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))

    packed = b"".join(struct.pack("=HBBI", *one) for one in code)
    program = Program(len(code), packed)
    _done(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0), "filter system calls")

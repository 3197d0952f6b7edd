"""What the launcher needs of the kernel that Python's library does not offer."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

__all__ = [
    "IP_FREEBIND",
    "ONE_WRITE_BYTES",
    "acting_as",
    "adopt_orphans",
    "copy_tree",
    "detach",
    "dropped_user",
    "enter",
    "ignored_signals",
    "leave_common_mounts",
    "memory_file",
    "mount_memory",
    "open_below",
    "open_without_links",
    "put_tree",
    "shrink_to_one_write",
    "swapped_users",
]

IP_FREEBIND: Final = 15

ONE_WRITE_BYTES: Final = 4096
"""What fills a pipe that holds one write."""

_libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_CHILD_SUBREAPER = 36
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_REC_SLAVE = 0x4000 | 0x80000
_MNT_DETACH = 2
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_IDMAP = 0x00100000

# The same on all architectures.
_OPEN_TREE = 428
_MOVE_MOUNT = 429
_OPENAT2 = 437
_MOUNT_SETATTR = 442

_UNUSED = 1_879_100_000
"""A user whom no distribution gives out; systemd's table of users leaves this range free."""

_ALL = 2**32 - 1
_NOBODY = 65534


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("users", ctypes.c_uint64),
    )


def _done(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result


def adopt_orphans() -> None:
    """Become the parent of what is left of descendants, so that it can be waited for."""
    _done(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "adopt orphans")


def enter(namespace: int) -> None:
    """Enter a namespace by its descriptor."""
    _done(_libc.setns(namespace, 0), "enter a namespace")


def memory_file(data: bytes) -> int:
    """A descriptor from which `data` can be read."""
    fd = os.memfd_create("sashizu", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def shrink_to_one_write(pipe: int) -> None:
    """Let a pipe hold one write: it can be written to again only after that was read."""
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, ONE_WRITE_BYTES)


@cache
def ignored_signals() -> tuple[int, ...]:
    """What this process ignores, and what comes after must not."""
    known = signal.valid_signals()
    return tuple(number for number in known if signal.getsignal(number) is signal.SIG_IGN)


@cache
def dropped_user() -> int:
    """Who programs run as that root starts: one that exists in our user namespace."""
    for line in Path("/proc/self/uid_map").read_text("ascii").splitlines():
        first, _, count = map(int, line.split())
        if first <= _UNUSED < first + count:
            return _UNUSED
    return _NOBODY


def swapped_users(user: int) -> int:
    """A descriptor of a user namespace in which root and `user` have changed places."""
    ready_r, ready_w = os.pipe()
    child = os.fork()
    if child == 0:
        ok = _libc.unshare(_CLONE_NEWUSER) == 0
        os.write(ready_w, b"+" if ok else b"-")
        signal.pause()
    os.close(ready_w)
    try:
        if os.read(ready_r, 1) != b"+":
            raise OSError("a user namespace for the files of root cannot be made")
        for kind in ("uid", "gid"):
            Path(f"/proc/{child}/{kind}_map").write_text(_swapped(user, kind), "ascii")
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(ready_r)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _swapped(user: int, kind: str) -> str:
    """The table of such a namespace; it ends where our own does."""
    first, _, count = map(int, Path(f"/proc/self/{kind}_map").read_text("ascii").split()[:3])
    end = min(first + count, _ALL)
    rows = [(0, user, 1), (1, 1, user - 1), (user, 0, 1), (user + 1, user + 1, end - user - 1)]
    return "".join(f"{inner} {outer} {number}\n" for inner, outer, number in rows if number > 0)


def leave_common_mounts() -> None:
    """Have a view of the file system of our own, in which later mounts of others still appear."""
    _done(_libc.unshare(_CLONE_NEWNS), "a view of the file system of its own")
    _mount(None, "/", None, _MS_REC_SLAVE)


def mount_memory(place: str) -> None:
    """Cover a folder with an empty file system."""
    _mount("tmpfs", place, "tmpfs", 0)


def detach(place: str) -> None:
    """Take away what is mounted at a place; who uses it keeps it."""
    _done(_libc.umount2(os.fsencode(place), _MNT_DETACH), place)


def open_without_links(path: str, flags: int = os.O_PATH) -> int:
    """A descriptor of what lies at a path; it only stands for it, without other `flags`.

    Raises:
        OSError: it is not there, or there is a symbolic link in it.
    """
    return _open(_AT_FDCWD, path, flags, _RESOLVE_NO_SYMLINKS)


def open_below(folder: int, path: str) -> int:
    """A descriptor that stands for a relative path below a descriptor, or for that one itself.

    Raises:
        OSError: it is not there, there is a symbolic link in it, or it leads out.
    """
    return _open(folder, path, os.O_PATH, _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH)


def _open(folder: int, path: str, flags: int, resolve: int) -> int:
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    size = ctypes.c_size_t(len(how))
    return _done(_libc.syscall(_OPENAT2, folder, os.fsencode(path), how, size), path)


def copy_tree(fd: int, mapping: int) -> int:
    """A copy of what is mounted at a descriptor and below, with the users of `mapping`.

    Raises:
        OSError: a file system in it cannot show its files as another user's.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE | _AT_EMPTY_PATH
    tree = _done(_libc.syscall(_OPEN_TREE, fd, b"", flags), "copy a mount")
    attributes = _MountAttributes(set=_MOUNT_ATTR_IDMAP, users=mapping)
    result = _libc.syscall(
        _MOUNT_SETATTR,
        tree,
        b"",
        _AT_EMPTY_PATH | _AT_RECURSIVE,
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    try:
        _done(result, "change the users of a mount")
    except OSError:
        os.close(tree)
        raise
    return tree


def put_tree(tree: int, place: str) -> None:
    """Mount such a copy."""
    result = _libc.syscall(
        _MOVE_MOUNT, tree, b"", _AT_FDCWD, os.fsencode(place), _MOVE_MOUNT_F_EMPTY_PATH
    )
    _done(result, place)


def _mount(source: str | None, target: str, kind: str | None, flags: int) -> None:
    result = _libc.mount(
        source and os.fsencode(source),
        os.fsencode(target),
        kind and os.fsencode(kind),
        ctypes.c_ulong(flags),
        None,
    )
    _done(result, target)


@contextmanager
def acting_as(user: int) -> Iterator[None]:
    """Be an ordinary user for a moment; root can be regained until the end."""
    os.setresgid(user, user, 0)
    try:
        os.setresuid(user, user, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)
    finally:
        os.setresgid(0, 0, 0)

"""What the operating system does for the record: locks, room, and bringing bytes to the disk."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any

__all__ = [
    "fill",
    "free_bytes",
    "is_full",
    "is_locked",
    "lock",
    "locked",
    "nobody_reads",
    "put_in_place",
    "reading",
    "remove",
    "reserve",
    "sync_file",
    "sync_folder",
    "sync_path",
]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_KEEP_SIZE = 1  # linux/falloc.h: FALLOC_FL_KEEP_SIZE
_CHUNK = 1024 * 1024
_POLL_S = 0.02
READERS_S = 5.0
"""How long readers are waited for that keep Windows from replacing a file, in seconds."""


def is_full(error: OSError) -> bool:
    """Whether the disk, the quota or the process's own limit of file size is used up."""
    return error.errno in _FULL


if sys.platform == "win32":
    import ctypes
    import msvcrt

    _LOCKED_BYTE = 2**62  # locks are mandatory there: a byte that nobody wants to read
    _AT_ONCE, _ALONE = 1, 2
    """LOCKFILE_FAIL_IMMEDIATELY and LOCKFILE_EXCLUSIVE_LOCK, minwinbase.h."""

    class _Overlapped(ctypes.Structure):
        """OVERLAPPED: where in the file."""

        _fields_ = (
            ("internal", ctypes.c_void_p),
            ("internal_high", ctypes.c_void_p),
            ("offset", ctypes.c_uint32),
            ("offset_high", ctypes.c_uint32),
            ("event", ctypes.c_void_p),
        )

    def _lock_byte(fd: int, flags: int) -> None:
        # Not `msvcrt.locking`: it goes to the place, which not every file system has.
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        where = _Overlapped(offset_high=_LOCKED_BYTE >> 32)
        handle = ctypes.c_void_p(msvcrt.get_osfhandle(fd))
        if not kernel.LockFileEx(handle, flags, 0, 1, 0, ctypes.byref(where)):
            raise ctypes.WinError(ctypes.get_last_error())

    def lock(fd: int) -> None:
        """Lock a file for as long as it is open. Never waits.

        Raises:
            OSError: somebody else holds the lock.
        """
        _lock_byte(fd, _AT_ONCE | _ALONE)

    def _share(fd: int) -> None:
        _lock_byte(fd, _AT_ONCE)

else:
    import fcntl

    def lock(fd: int) -> None:
        """Lock a file for as long as it is open. Never waits.

        Raises:
            OSError: somebody else holds the lock.
        """
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _share(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of a file. Ask only of files that their writer has locked.

    Raises:
        OSError: the file cannot be opened.
    """
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    try:
        _share(fd)  # others may ask at the same time
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)  # gives our own lock back


@contextmanager
def locked(path: Path, wait_s: float = 0.0) -> Iterator[bool]:
    """Whether the lock of a file, which is made if need be, is ours alone while the block runs.

    Who holds it is waited for at most so many seconds.

    Raises:
        OSError: the file cannot be made.
    """
    fd = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600)
    end = monotonic() + wait_s
    try:
        while not (mine := _is_ours(fd)) and monotonic() < end:
            sleep(_POLL_S)
        yield mine
    finally:
        os.close(fd)


def _is_ours(fd: int) -> bool:
    try:
        lock(fd)
    except OSError:
        return False
    return True


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Show for the time of the block that somebody reads; never waits, and does without if it must.

    `nobody_reads` is then false in other processes. Without shared locks nothing is shown.
    """
    fd = -1
    with suppress(OSError):
        if sys.platform != "win32":
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            _share(fd)
    try:
        yield
    finally:
        if fd >= 0:
            os.close(fd)


@contextmanager
def nobody_reads(path: Path) -> Iterator[bool]:
    """Whether nobody shows that they read this; who comes during the block is not seen. No waiting.

    Raises:
        OSError: the file cannot be opened.
    """
    if sys.platform == "win32":
        yield True  # what is open cannot be removed there anyway
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            lock(fd)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def reserve(fd: int, offset: int, length: int) -> bool:
    """Set room aside beyond the end of a file without changing its size.

    Returns False where the system or the file system has no such thing.

    Raises:
        OSError: there is no such room.
    """
    call = _fallocate()
    if call is None:
        return False
    import ctypes

    if call(fd, _KEEP_SIZE, offset, length) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EOPNOTSUPP, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code))


@cache
def _fallocate() -> Any:
    """The C function; None elsewhere than on Linux."""
    if sys.platform != "linux":
        return None
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    # glibc names the 64-bit one apart, musl has only that one
    call = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return call


def free_bytes(folder: Path) -> int:
    """How much a file in this folder could grow.

    Raises:
        OSError: the folder cannot be looked at.
    """
    return shutil.disk_usage(folder).free


def fill(fd: int, length: int) -> None:
    """Give a new file this length, with room on the disk for all of it.

    Raises:
        OSError: there is no such room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(fd, 0, length)
        return
    zeros = bytes(min(_CHUNK, length))
    while length > 0:
        length -= os.write(fd, zeros[:length])


def sync_file(fd: int) -> None:
    """Bring the contents of a file to the disk.

    Raises:
        OSError: the disk did not take them; whether they are there now, nobody can tell.
    """
    if sys.platform == "darwin":
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(fd)
    else:
        os.fsync(fd)


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk.

    Raises:
        OSError: the disk did not take them.
    """
    if sys.platform == "win32":
        return  # folders cannot be opened there, and names are journaled
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_path(path: Path) -> None:
    """Bring the contents of a file to the disk, by its name.

    Raises:
        OSError: as `sync_file`, or it is not there.
    """
    fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        sync_file(fd)
    finally:
        os.close(fd)


def remove(path: Path) -> None:
    """Remove a file, if it is there; one that may only be read too, as sealed ones are.

    Raises:
        OSError: it stays.
    """
    _release(path)
    path.unlink(missing_ok=True)


def put_in_place(part: Path, path: Path) -> None:
    """Give a file the name of another, which may be there and may be one that is only read.

    Windows replaces no file that somebody has open: readers, who have it briefly, are waited for.

    Raises:
        OSError: what was there stays.
    """
    _release(path)
    until = monotonic() + READERS_S
    while sys.platform == "win32" and monotonic() < until:
        try:
            part.replace(path)
        except PermissionError:
            sleep(_POLL_S)
        else:
            return
    part.replace(path)


def _release(path: Path) -> None:
    """Have a file that may only be read removed or replaced: Windows refuses that, others not."""
    if sys.platform == "win32":
        with suppress(OSError):
            path.chmod(stat.S_IWRITE)

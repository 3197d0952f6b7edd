"""What the operating system does for the record: locks, room, and bringing bytes to the disk."""

from __future__ import annotations

import errno
import os
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["fill", "is_full", "is_locked", "lock", "reserve", "sync_file", "sync_folder"]

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_KEEP_SIZE = 1  # linux/falloc.h: FALLOC_FL_KEEP_SIZE
_CHUNK = 1024 * 1024
_LOCK_TRIES = 200
_LOCK_PAUSE_S = 0.005


def is_full(error: OSError) -> bool:
    """Whether the disk, the quota or the process's own limit of file size is used up."""
    return error.errno in _FULL


if sys.platform == "win32":
    import msvcrt

    _LOCKED_BYTE = 2**62  # locks are mandatory there: a byte that nobody wants to read

    def _lock_now(fd: int) -> None:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock_now(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock(fd: int) -> None:
    """Lock a file that we have just made, for as long as it is open.

    Raises:
        OSError: the lock cannot be had.
    """
    for _ in range(_LOCK_TRIES - 1):
        try:
            _lock_now(fd)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)  # somebody looks in this instant whether we are alive
        else:
            return
    _lock_now(fd)


def is_locked(path: Path) -> bool:
    """Whether the writer of a segment is alive. False if the file is gone or not ours to open."""
    try:
        fd = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return False
    try:
        _lock_now(fd)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


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

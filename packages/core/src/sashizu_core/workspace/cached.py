"""Reading what the system has in memory, where waiting for a disk or a network is not allowed.

A thread waits as well, and costs some hundred microseconds for a file that is there already.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys

__all__ = ["is_local", "read_cached"]

# linux/magic.h: file systems that open what they know without asking anybody.
_LOCAL = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # xfs
        0x9123683E,  # btrfs
        0xF2F52010,  # f2fs
        0x01021994,  # tmpfs
        0x794C7630,  # overlayfs
    }
)
_STATFS_BYTES = 256
"""More than `struct statfs` has on any machine; `f_type` is its first word (statfs(2))."""


def is_local(libc: ctypes.CDLL, fd: int) -> bool:
    """Whether a descriptor lies in a file system of this machine, known not to ask others."""
    if sys.platform != "linux" or not hasattr(os, "RWF_NOWAIT"):
        return False
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if libc.fstatfs(ctypes.c_int(fd), found):
        return False
    return (ctypes.c_long.from_buffer(found).value & 0xFFFFFFFF) in _LOCAL


def read_cached(fd: int, limit: int) -> bytes | None:
    """All of a regular file of at most `limit` bytes; None if it is none, or not all in memory.

    Source: `RWF_NOWAIT` of preadv2(2), Linux 4.14.
    """
    if sys.platform != "linux":
        return None
    before = os.fstat(fd)
    if not stat.S_ISREG(before.st_mode) or before.st_size > limit:
        return None
    buffer = bytearray(before.st_size + 1)
    try:
        count = os.preadv(fd, [buffer], 0, os.RWF_NOWAIT)
    except OSError:  # not in memory, or the file system cannot say so
        return None
    after = os.fstat(fd)
    if count != before.st_size or (before.st_mtime_ns, before.st_ctime_ns, before.st_size) != (
        after.st_mtime_ns,
        after.st_ctime_ns,
        after.st_size,
    ):
        return None
    del buffer[count:]
    return bytes(buffer)

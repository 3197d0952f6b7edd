"""Folders as descriptors, for POSIX systems."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Self

from sashizu_core.workspace.cached import is_local
from sashizu_core.workspace.dirs import CREATE, READ, Kind, kind_of
from sashizu_core.workspace.names import parts_of

__all__ = ["KernelDir", "StepwiseDir", "kernel_resolves"]

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)

# linux/openat2.h; the number is the same on every architecture but Alpha
_OPENAT2 = 437
_NO_XDEV = 0x01
_NO_MAGICLINKS = 0x02
_NO_SYMLINKS = 0x04
_BENEATH = 0x08
_CACHED = 0x20  # Linux 5.12
_AT_ONCE = _BENEATH | _NO_MAGICLINKS | _NO_SYMLINKS | _NO_XDEV | _CACHED
_ATTEMPTS = 16
"""How often a race with a rename (EAGAIN, openat2(2)) is tried again."""


class _OpenHow(ctypes.Structure):
    """`struct open_how` of linux/openat2.h: flags, mode, resolve; 64 bits each."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _openat2(fd: int, path: str, flags: int, resolve: int, attempts: int = _ATTEMPTS) -> int:
    how = _OpenHow(flags, 0, resolve)
    encoded = os.fsencode(path)
    number = 0
    for _ in range(attempts):
        opened = _libc().syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_long(fd),
            ctypes.c_char_p(encoded),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if opened >= 0:
            return int(opened)
        number = ctypes.get_errno()
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


@cache
def kernel_resolves() -> bool:
    """Whether `openat2` is there: Linux 5.6 and later, and no filter of system calls forbids it."""
    if sys.platform != "linux":
        return False
    fd = os.open("/", _FOLDER)
    try:
        os.close(_openat2(fd, ".", _FOLDER, _BENEATH))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


class StepwiseDir:
    """A folder as a descriptor. Links are never followed."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @classmethod
    def open(cls, path: Path) -> Self:
        return cls(os.open(path, _FOLDER | _NOFOLLOW))

    @property
    def fd(self) -> int:
        if self._fd is None:
            raise OSError(errno.EBADF, "the workspace is closed")
        return self._fd

    def open_file(self, path: str) -> tuple[int, str]:
        return self._step(path, READ), path

    def open_at_once(self, path: str) -> int | None:  # noqa: ARG002 - other systems cannot say
        return None

    def open_dir(self, path: str) -> tuple[Self, str]:
        return type(self)(self._step(path, _FOLDER)), path

    def _step(self, path: str, flags: int) -> int:
        parts = parts_of(path) or (".",)
        current = self.fd
        try:
            for part in parts[:-1]:
                opened = self._nofollow(current, part, _FOLDER)
                if current != self.fd:
                    os.close(current)
                current = opened
            return self._nofollow(current, parts[-1], flags)
        finally:
            if current != self.fd:
                os.close(current)

    @staticmethod
    def _nofollow(fd: int, name: str, flags: int) -> int:
        try:
            return os.open(name, flags | _NOFOLLOW, dir_fd=fd)
        except NotADirectoryError:
            # O_DIRECTORY hides that it is a link
            if _is_symlink(fd, name):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name) from None
            raise

    def child_file(self, name: str) -> int:
        return self._nofollow(self.fd, name, READ)

    def child_dir(self, name: str) -> Self:
        return type(self)(self._nofollow(self.fd, name, _FOLDER))

    def create(self, name: str, mode: int) -> int:
        return os.open(name, CREATE, mode, dir_fd=self.fd)

    def mkdir(self, name: str) -> None:
        os.mkdir(name, dir_fd=self.fd)

    def lstat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def link(self, old: str, new: str) -> None:
        os.link(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd, follow_symlinks=False)

    def replace(self, old: str, new: str) -> None:
        os.replace(old, new, src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self.fd)

    def rmdir(self, name: str) -> None:
        os.rmdir(name, dir_fd=self.fd)

    def scan(self) -> Iterator[tuple[str, Kind]]:
        with os.scandir(self.fd) as entries:
            for entry in entries:
                yield entry.name, kind_of(entry)

    def sync(self) -> None:
        os.fsync(self.fd)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _is_symlink(fd: int, name: str) -> bool:
    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    return stat.S_ISLNK(status.st_mode)


class KernelDir(StepwiseDir):
    """A folder as a descriptor. The kernel keeps every path beneath it, links included."""

    def _step(self, path: str, flags: int) -> int:
        return _openat2(self.fd, path, flags, _BENEATH | _NO_MAGICLINKS | _NO_SYMLINKS)

    def _through_links(self, path: str, flags: int) -> tuple[int, str]:
        try:
            return self._step(path, flags), path
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        fd = _openat2(self.fd, path, flags, _BENEATH | _NO_MAGICLINKS)
        try:
            return fd, self._real_path(fd, path)
        except OSError:
            os.close(fd)
            raise

    def open_file(self, path: str) -> tuple[int, str]:
        return self._through_links(path, READ)

    @cached_property
    def _local(self) -> bool:
        return is_local(_libc(), self.fd)

    def open_at_once(self, path: str) -> int | None:
        if not self._local:
            return None
        try:
            return _openat2(self.fd, path, READ, _AT_ONCE, attempts=1)
        except OSError:
            return None

    def open_dir(self, path: str) -> tuple[Self, str]:
        fd, real = self._through_links(path, _FOLDER)
        return type(self)(fd), real

    def _real_path(self, fd: int, path: str) -> str:
        """Where an opened descriptor lies, from here. Source: proc_pid_fd(5).

        Without /proc nobody can say, and the link counts as not followed.
        """
        try:
            here, there = (parts_of(os.readlink(f"/proc/self/fd/{n}")) for n in (self.fd, fd))  # noqa: PTH115
        except OSError as error:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path) from error
        if there[: len(here)] != here:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        return "/".join(there[len(here) :]) or "."

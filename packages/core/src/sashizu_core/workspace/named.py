"""Folders as paths, for systems whose files cannot be opened from a folder's handle.

Every file is opened first and looked at afterwards: where its handle really lies is compared with
where it should, so a link or a swap in between is noticed before a byte is read or written.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from sashizu_core.workspace.dirs import CREATE, READ, Kind, is_link, kind_of

__all__ = ["NamedDir"]


def _final_path(fd: int) -> Path:
    """Where an open file lies, links resolved, as the system says."""
    if sys.platform == "win32":
        import ctypes
        import msvcrt

        size = 32768  # the longest path of Windows, in characters
        buffer = ctypes.create_unicode_buffer(size)
        handle = msvcrt.get_osfhandle(fd)
        if not ctypes.windll.kernel32.GetFinalPathNameByHandleW(handle, buffer, size, 0):
            raise ctypes.WinError()
        text = buffer.value
        if text.startswith("\\\\?\\UNC\\"):
            return Path("\\\\" + text[8:])
        return Path(text.removeprefix("\\\\?\\"))
    if sys.platform == "darwin":
        import fcntl

        raw = fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024))
        return Path(os.fsdecode(raw.rstrip(b"\0")))
    return Path(f"/proc/self/fd/{fd}").readlink()


class NamedDir:
    """A folder as a path."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve(strict=True)
        if not self._path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))

    def _real(self, path: Path, asked: str) -> str:
        """A resolved path from here; outside is an error."""
        if not path.is_relative_to(self._path):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), asked)
        return path.relative_to(self._path).as_posix()

    def _opened(self, path: str, flags: int, mode: int = 0o666) -> tuple[int, str]:
        fd = os.open(self._path / path, flags, mode)
        try:
            return fd, self._real(_final_path(fd), path)
        except OSError:
            os.close(fd)
            raise

    def open_file(self, path: str) -> tuple[int, str]:
        return self._opened(path, READ)

    def open_dir(self, path: str) -> tuple[Self, str]:
        found = (self._path / path).resolve(strict=True)
        real = self._real(found, path)
        return type(self)(found), real

    def child_file(self, name: str) -> int:
        return self._exactly(name, *self._opened(name, READ))

    def child_dir(self, name: str) -> Self:
        if is_link(self.lstat(name)):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        folder, real = self.open_dir(name)
        if real != name:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        return folder

    def create(self, name: str, mode: int) -> int:
        return self._exactly(name, *self._opened(name, CREATE, mode))

    @staticmethod
    def _exactly(name: str, fd: int, real: str) -> int:
        if os.path.normcase(real) != os.path.normcase(name):
            os.close(fd)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        return fd

    def mkdir(self, name: str) -> None:
        (self._path / name).mkdir()

    def lstat(self, name: str) -> os.stat_result:
        return (self._path / name).lstat()

    def link(self, old: str, new: str) -> None:
        (self._path / new).hardlink_to(self._path / old)

    def replace(self, old: str, new: str) -> None:
        (self._path / old).replace(self._path / new)

    def unlink(self, name: str) -> None:
        (self._path / name).unlink()

    def rmdir(self, name: str) -> None:
        (self._path / name).rmdir()

    def scan(self) -> Iterator[tuple[str, Kind]]:
        with os.scandir(self._path) as entries:
            for entry in entries:
                yield entry.name, kind_of(entry)

    def sync(self) -> None:
        """Nothing: a folder opened by path has no handle to wait on."""

    def close(self) -> None:
        """Nothing: a path holds nothing open."""

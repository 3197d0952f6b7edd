"""Folders as paths, for systems whose files cannot be opened from a folder's handle.

Every file is opened first and looked at afterwards: where its handle really lies is compared with
where it should, so a link or a swap in between is noticed before a byte is read or written. A
rename has no handle to look at; on Windows an open folder is therefore pinned, so that nobody can
swap it for a link. Elsewhere nothing holds it, and `StepwiseDir` is what writes.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from sashizu_core.unfollowed import is_link
from sashizu_core.workspace.dirs import CREATE, READ, Kind, kind_of

__all__ = ["NamedDir"]


def _shown(path: Path) -> Path:
    """A path of Windows without what allows it to be long."""
    text = str(path)
    if text.startswith("\\\\?\\UNC\\"):
        return Path("\\\\" + text[8:])
    return Path(text.removeprefix("\\\\?\\"))


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
        return _shown(Path(buffer.value))
    if sys.platform == "darwin":
        import fcntl

        raw = fcntl.fcntl(fd, fcntl.F_GETPATH, bytes(1024))
        return Path(os.fsdecode(raw.rstrip(b"\0")))
    return Path(f"/proc/self/fd/{fd}").readlink()


def _reach(path: Path) -> Path:
    r"""How a resolved path is handed to the system: Windows takes more than 260 characters so."""
    if sys.platform == "win32":
        text = str(path)
        if not text.startswith("\\\\?\\"):
            share = text.startswith("\\\\")
            return Path("\\\\?\\UNC\\" + text[2:] if share else "\\\\?\\" + text)
    return path


def _resolved(path: Path) -> Path:
    # Path.resolve raises RuntimeError for a loop of links, before Python 3.13
    return _shown(Path(os.path.realpath(_reach(path), strict=True)))


class _Pin:
    """Keeps a folder from being renamed or deleted, on Windows.

    An open handle without `FILE_SHARE_DELETE` does (CreateFileW, Windows API).
    """

    def __init__(self, path: Path) -> None:
        self._handle: int | None = None
        if sys.platform == "win32":
            import ctypes
            from ctypes import wintypes

            create = ctypes.WinDLL("kernel32", use_last_error=True).CreateFileW
            create.restype = wintypes.HANDLE
            list_directory, share_read_write, open_existing, backup_semantics = 1, 3, 3, 0x0200_0000
            self._handle = create(
                str(path),
                list_directory,
                share_read_write,
                None,
                open_existing,
                backup_semantics,
                None,
            )
            if self._handle == wintypes.HANDLE(-1).value:
                raise ctypes.WinError(ctypes.get_last_error())

    def close(self) -> None:
        if sys.platform == "win32" and self._handle is not None:
            import ctypes
            from ctypes import wintypes

            ctypes.windll.kernel32.CloseHandle(wintypes.HANDLE(self._handle))
            self._handle = None


class NamedDir:
    """A folder as a path."""

    def __init__(self, path: Path) -> None:
        self._path = _resolved(path)
        self._at = _reach(self._path)
        self._closed = False
        self._pin = _Pin(self._at)
        if not self._at.is_dir():
            self._pin.close()
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))

    def _check_open(self, asked: str) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), asked)

    def _real(self, path: Path, asked: str) -> str:
        """A resolved path from here; outside is an error."""
        if not path.is_relative_to(self._path):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), asked)
        return path.relative_to(self._path).as_posix()

    def _opened(self, path: str, flags: int, mode: int = 0o666) -> tuple[int, str]:
        self._check_open(path)
        fd = os.open(self._at / path, flags, mode)
        try:
            return fd, self._real(_final_path(fd), path)
        except OSError:
            os.close(fd)
            raise

    def open_file(self, path: str) -> tuple[int, str]:
        return self._opened(path, READ)

    def open_at_once(self, path: str) -> int | None:  # noqa: ARG002 - this system cannot say
        return None

    def open_dir(self, path: str) -> tuple[Self, str]:
        self._check_open(path)
        found = _resolved(self._at / path)
        real = self._real(found, path)
        folder = type(self)(found)
        if folder._path != found:
            folder.close()
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        return folder, real

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
        (self._at / name).mkdir()

    def lstat(self, name: str) -> os.stat_result:
        return (self._at / name).lstat()

    def link(self, old: str, new: str) -> None:
        (self._at / new).hardlink_to(self._at / old)

    def replace(self, old: str, new: str) -> None:
        (self._at / old).replace(self._at / new)

    def unlink(self, name: str) -> None:
        (self._at / name).unlink()

    def rmdir(self, name: str) -> None:
        (self._at / name).rmdir()

    def scan(self) -> Iterator[tuple[str, Kind]]:
        with os.scandir(self._at) as entries:
            for entry in entries:
                yield entry.name, kind_of(entry)

    def sync(self) -> None:
        """Nothing: a folder opened by path has no handle to wait on."""

    def close(self) -> None:
        self._closed = True
        self._pin.close()

"""Stands in for protected paths that do not exist, so that nothing can be put there.

A mount needs a place to be put on. An empty folder is made, and removed after the last program that
needed it: every launcher holds a shared lock on it, and whoever gets the lock alone removes it. A
folder rather than a file, because git sees no empty folders.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterable
from pathlib import Path

__all__ = ["hold", "is_placeholder", "let_go"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_TRIES = 100

_MODE = 0o755 | stat.S_ISVTX
"""The mode of a folder of ours: nobody gives a folder that only its owner can write this mark."""


def is_placeholder(mode: int) -> bool:
    """Whether a mode is that of a folder which stands in for nothing, and may go at any time."""
    return stat.S_ISDIR(mode) and bool(mode & stat.S_ISVTX)


def hold(paths: Iterable[str]) -> list[int]:
    """Make empty folders, and hold them by the descriptors that are returned.

    A path at which there is something by now is left as it is.

    Raises:
        OSError: a folder could not be made.
    """
    held: list[int] = []
    try:
        for path in paths:
            fd = _hold(path)
            if fd is not None:
                held.append(fd)
    except OSError:
        let_go(held)
        raise
    return held


def let_go(held: Iterable[int]) -> None:
    """Remove the folders that nobody needs any more and that are still empty."""
    for fd in held:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path = Path(f"/proc/self/fd/{fd}").readlink()
            status = os.fstat(fd)
            if is_placeholder(status.st_mode) and os.path.samestat(path.lstat(), status):
                path.rmdir()
        except OSError:
            pass  # somebody else needs it, has put something there, or has removed it
        finally:
            os.close(fd)


def _hold(path: str) -> int | None:
    for _ in range(_TRIES):
        try:
            os.mkdir(path, _MODE)  # noqa: PTH102
        except FileExistsError:
            pass
        except PermissionError:
            return None  # nor can what we start put anything there
        except OSError as error:
            if error.errno != errno.EROFS:
                raise
            return None
        try:
            fd = os.open(path, _FOLDER)
        except NotADirectoryError:
            return None  # something else by now, which is protected as it is
        except FileNotFoundError:
            continue
        fcntl.flock(fd, fcntl.LOCK_SH)
        try:
            if os.path.samestat(os.lstat(path), os.fstat(fd)):
                return fd
        except FileNotFoundError:
            pass
        os.close(fd)  # removed while we waited for the lock
    raise OSError(f"{path!r} comes and goes")

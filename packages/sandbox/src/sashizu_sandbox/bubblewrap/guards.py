"""Stands in for protected paths that do not exist, so that nothing can be put there.

A mount needs a place to be put on. Empty folders of a mode that nobody else uses are made, and
removed after the last program that needed them: every launcher holds a shared lock on the folder
around them, and whoever gets that lock alone removes them. What was left by a launcher that was
killed is known by its mode, and taken over. Folders rather than files, because git sees no empty
folders.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable
from contextlib import suppress

from sashizu_sandbox.bubblewrap import kernel

__all__ = ["Guards", "is_placeholder"]

_MODE = 0o1555
"""A sticky folder that nobody may write to."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY


def is_placeholder(mode: int) -> bool:
    """Whether a mode is that of a folder which stands in for something that is not there."""
    return stat.S_ISDIR(mode) and stat.S_IMODE(mode) == _MODE


class Guards:
    """The folders that are held for the programs of one launcher."""

    def __init__(self) -> None:
        self._left: dict[str, set[str]] = {}

    def hold(self, paths: Iterable[str]) -> dict[str, int]:
        """Make empty folders where there is nothing; what holds them, for `let_go`.

        Raises:
            OSError: a folder could not be made, or a symbolic link stands there or leads there.
        """
        held: dict[str, int] = {}
        before = os.umask(0)
        try:
            for path in paths:
                folder, name = os.path.split(path)
                if folder not in held:
                    held[folder] = kernel.open_without_links(folder, _FOLDER)
                    fcntl.flock(held[folder], fcntl.LOCK_SH)
                self._make(held[folder], folder, name)
        except OSError:
            self.let_go(held)
            raise
        finally:
            os.umask(before)
        return held

    def let_go(self, held: dict[str, int]) -> None:
        """Remove the folders that nobody needs any more and that are still empty."""
        for folder, fd in held.items():
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)  # somebody else needs them
                continue
            for name in self._left.pop(folder, ()):
                with suppress(OSError):  # it is no longer there, or no longer empty
                    os.rmdir(name, dir_fd=fd)
            os.close(fd)

    def _make(self, fd: int, folder: str, name: str) -> None:
        try:
            os.mkdir(name, _MODE, dir_fd=fd)
        except FileExistsError:
            mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                raise OSError(
                    f"{folder}/{name} has become a symbolic link, and has to be protected"
                ) from None
            if not is_placeholder(mode):
                return  # made meanwhile, and protected as it is
        self._left.setdefault(folder, set()).add(name)

"""Shows paths to programs of another user: what root's launcher does instead of opening them up.

In the launcher's own view of the file system, each path is shown once more, as if what belongs to
root belonged to the user that programs run as.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from sashizu_sandbox.bubblewrap import kernel

__all__ = ["PLACE", "Stage"]

PLACE = "/sys/sashizu"
"""Where the paths are shown; only the launcher and what it starts see it there."""

_COVERED = "/sys"
"""A folder of every Linux that neither the launcher nor bubblewrap looks at."""


class Stage:
    """The paths that are shown; they stay so, for the next programs."""

    def __init__(self) -> None:
        self._mapping = kernel.swapped_users(kernel.dropped_user())
        kernel.leave_common_mounts()
        kernel.mount_memory(_COVERED)
        Path(PLACE).mkdir(mode=0o755)
        os.setgroups([])

    def show(self, paths: Mapping[str, str]) -> None:
        """Show paths, without a symbolic link in them, under names.

        Raises:
            OSError: one has become a link, or its file system cannot show it as another user's.
        """
        for name, path in paths.items():
            place = Path(PLACE, name)
            fd = kernel.open_without_links(path)
            try:
                found = os.fstat(fd)
                with suppress(FileNotFoundError):
                    if os.path.samestat(found, place.stat()):
                        continue
                    kernel.detach(str(place))  # another one is at that path by now
                self._put(fd, place, path)
            finally:
                os.close(fd)

    def _put(self, fd: int, place: Path, path: str) -> None:
        try:
            tree = kernel.copy_tree(fd, self._mapping)
        except OSError as error:
            raise OSError(
                f"{path!r} belongs to root and its file system cannot show it to another user "
                f"({error.strerror}): start sashizu as an ordinary user"
            ) from error
        folder = Path(f"/proc/self/fd/{fd}").is_dir()
        try:
            if place.exists() and place.is_dir() != folder:
                place.rmdir() if place.is_dir() else place.unlink()
            if folder:
                place.mkdir(mode=0o755, exist_ok=True)
            else:
                place.touch()
            kernel.put_tree(tree, str(place))
        finally:
            os.close(tree)

"""An ext4 file system in a file, whose power can be cut: Linux, as root, with loop devices."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["CutDisk", "UnsupportedError"]

_SHUTDOWN = 0x8004587D
"""linux/ext4.h: EXT4_IOC_SHUTDOWN, `_IOR('X', 125, __u32)`."""

_NO_LOG_FLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: what the journal has in memory is lost as well."""


_OTHERS_S = 60.0


class UnsupportedError(Exception):
    """There is no such disk here; says why."""


class CutDisk:
    """A disk of `mib` MiB that is mounted at `folder`, below `place`.

    Raises:
        UnsupportedError: this system cannot mount one, or does not let us.
    """

    def __init__(self, place: Path, mib: int = 512) -> None:
        if sys.platform != "linux" or os.geteuid() != 0:
            raise UnsupportedError("a disk can be mounted on Linux only, by root")
        for program in ("mkfs.ext4", "mount", "umount"):
            if shutil.which(program) is None:
                raise UnsupportedError(f"there is no program {program}")
        self.folder = place / "mounted"
        self.folder.mkdir()
        self._image = place / "image"
        with self._image.open("wb") as file:
            file.truncate(mib * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self.mounted = False
        self.mount()

    def mount(self) -> None:
        """Mount it; after a cut its journal is replayed."""
        _run("mount", "-o", "loop", str(self._image), str(self.folder))
        self.mounted = True

    def cut(self) -> None:
        """Cut the power: from here on nothing reaches the disk, not even what is in its journal."""
        import fcntl

        fd = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        except OSError as error:
            raise UnsupportedError(f"ext4 does not let us cut its power: {error}") from error
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """Unmount it, if it is mounted; nobody may have files open there.

        Waits for mount namespaces of others that have copied the mount: while one lasts, mounting
        again would give the disk as it was cut.
        """
        if self.mounted:
            _run("umount", str(self.folder))
            self.mounted = False
        end = time.monotonic() + _OTHERS_S
        while self._in_use():
            if time.monotonic() > end:
                raise UnsupportedError("another process keeps the disk mounted in its namespace")
            time.sleep(0.02)

    def _in_use(self) -> bool:
        image = str(self._image.resolve())
        return any(_backing(each) == image for each in Path("/sys/block").glob("loop*/loop"))


def _backing(loop: Path) -> str:
    try:
        return (loop / "backing_file").read_text().strip()
    except OSError:
        return ""  # it was let go of meanwhile


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise UnsupportedError(f"{words[0]}: {said[-1]}")

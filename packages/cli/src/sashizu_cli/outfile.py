"""The file of `-o`: refused before anything runs, written whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkstemp

from sashizu_core.errors import SashizuError, UsageError

__all__ = ["OutFile", "opened"]

_NO_FILES = (("dev",), ("proc",))
"""Folders whose files stand for what is open elsewhere."""


def _umask() -> int:
    """What new files are not allowed; there is no other way to ask."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class OutFile:
    """A place that can be written. `write` replaces what is there in one step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fresh: Path | None = None
        self._mode: int | None = None
        self._check()

    def _check(self) -> None:
        """Make the fresh file beside the target, so that writing can hardly fail later.

        Raises:
            UsageError: the target is a folder, or its folder cannot be written.
        """
        if str(self.path) == "-":
            raise UsageError("-o '-' is no file; the report goes to stdout with -o /dev/stdout")
        try:
            if self.path.exists():
                mode = self.path.stat().st_mode
                if stat.S_ISDIR(mode):
                    raise UsageError(f"-o {str(self.path)!r} is a folder; name a file in it")
                if not os.access(self.path, os.W_OK):
                    raise UsageError(f"-o {str(self.path)!r} exists and may not be written")
                if not stat.S_ISREG(mode) or self.path.absolute().parts[1:2] in _NO_FILES:
                    return  # a device, a pipe or an open file is written to, never replaced
                self._mode = stat.S_IMODE(mode)
            target = self.path.resolve()
            descriptor, name = mkstemp(".new", f".{target.name}.", target.parent)
            os.close(descriptor)
            fresh = Path(name)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(
                f"-o {str(self.path)!r} cannot be written: {reason}; nothing was run"
            ) from error
        self._fresh = fresh

    def write(self, text: str) -> None:
        """Write the text.

        Raises:
            SashizuError: the disk is full, or the folder has gone; what was there is untouched.
        """
        try:
            if self._fresh is None:
                with self.path.open("a", encoding="utf-8", newline="\n") as file:
                    file.write(text)
                return
            with self._fresh.open("w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            self._fresh.chmod(self._mode if self._mode is not None else 0o666 & ~_umask())
            self._fresh.replace(self.path.resolve())
        except OSError as error:
            reason = error.strerror or str(error)
            raise SashizuError(f"-o {str(self.path)!r} was not written: {reason}") from error

    def clean_up(self) -> None:
        """Remove the fresh file if it was not used."""
        if self._fresh is not None:
            self._fresh.unlink(missing_ok=True)


@contextmanager
def opened(path: Path | None) -> Iterator[OutFile | None]:
    """The output file while a run goes on; None for no path.

    Raises:
        UsageError: it cannot be written.
    """
    if path is None:
        yield None
        return
    file = OutFile(path)
    try:
        yield file
    finally:
        file.clean_up()

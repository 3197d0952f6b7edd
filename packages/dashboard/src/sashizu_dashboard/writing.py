"""Writes a page: to stdout, or into a file that appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkstemp

from sashizu_core.errors import SashizuError, UsageError

__all__ = ["check_place", "write_page"]


def check_place(path: Path, *, force: bool) -> None:
    """Refuse a place that cannot take the page, before the record is asked.

    Raises:
        UsageError: something is there already and `force` does not count, or no folder is.
    """
    if os.path.isdir(path):  # noqa: PTH112 - a name that is too long is no folder
        raise UsageError(f"-o {str(path)!r} is a folder; name a file in it")
    if os.path.lexists(path) and not force:
        raise UsageError(f"-o {str(path)!r} exists; --force replaces it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"-o {str(path)!r}: there is no folder {str(path.absolute().parent)!r}")


def write_page(path: Path, text: str, *, force: bool) -> None:
    """Write beside the target and rename. The file is for its owner alone, as the record is.

    Raises:
        UsageError: as `check_place` says.
        SashizuError: it cannot be written; what was there is untouched.
    """
    check_place(path, force=force)
    fresh: Path | None = None
    try:
        descriptor, name = mkstemp(".new", f".{path.name}.", path.absolute().parent)
        fresh = Path(name)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        if fresh is not None:
            fresh.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise SashizuError(f"-o {str(path)!r} was not written: {reason}") from error

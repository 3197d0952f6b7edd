"""Where interpreters are installed, and whether nobody else could have put them there."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from sashizu_core.program_homes.looking import is_file, is_folder

__all__ = ["is_trusted_python", "open_to_others", "prefix_of"]

_PYTHON = re.compile(r"python[0-9.]*t?")


def open_to_others(path: Path) -> bool:
    """Whether others than root and we could change a file or folder."""
    try:
        status = path.stat()
    except OSError:
        return True
    ours = status.st_uid in (0, os.getuid())
    return not ours or bool(status.st_mode & stat.S_IWOTH)


def is_trusted_python(real: Path) -> bool:
    """Whether a real path is the executable of a Python that nobody else can change."""
    if _PYTHON.fullmatch(real.name) is None or not is_file(real):
        return False
    prefix = real.parent.parent
    libraries = _libraries(prefix)
    needed = (real, real.parent, prefix, *libraries, *(folder / "os.py" for folder in libraries))
    return bool(libraries) and not any(open_to_others(path) for path in needed)


def prefix_of(path: Path) -> Path | None:
    """The folder that an interpreter or compiler is installed in; None if it is neither."""
    prefix = path.parent.parent
    node = is_file(prefix / "include/node/node.h")
    rust = is_folder(prefix / "lib/rustlib")
    return prefix if node or rust or _libraries(prefix) else None


def _libraries(prefix: Path) -> list[Path]:
    return [folder for folder in prefix.glob("lib/python3.*") if is_file(folder / "os.py")]

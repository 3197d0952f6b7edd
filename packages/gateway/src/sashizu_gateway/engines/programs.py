"""Where the programs of other vendors are, and what they need to be shown to run."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from sashizu_core.errors import UsageError

__all__ = ["Program", "find_program"]

_ELF = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Program:
    """A program: the words that start it, and the folders that it needs to read."""

    words: tuple[str, ...]
    readable: tuple[Path, ...]

    @property
    def path(self) -> str:
        return self.words[0]


def find_program(name: str, own: str = "") -> Program:
    """A program by name, or by the path that the operator's settings give.

    What npm installs is a script that starts the program itself, which is looked for beside it;
    where there is none, the script is run by the interpreter that it names.

    Raises:
        UsageError: it is not there, or lies in the user's home itself, which it would get to read.
    """
    program = _program(name, own)
    home = Path(os.path.realpath(Path.home()))
    for folder in program.readable:
        if folder == home or folder in home.parents:
            raise UsageError(
                f"{program.words[-1]} lies in {folder}, all of which it would get to read: "
                "put it into a folder of its own"
            )
    return program


def _program(name: str, own: str) -> Program:
    found = shutil.which(own or name)
    if found is None:
        raise UsageError(
            f"the program {own or name!r} is not installed: install it, or say where it is in "
            f"[gateway] programs.{name}"
        )
    path = Path(os.path.realpath(found))
    beginning = _beginning(path)
    if not beginning.startswith(b"#!"):
        return Program((str(path),), (path.parent,))
    native = sorted(path.parent.parent.parent.glob(f"{name}-*/vendor/*/bin/{name}"))
    native = [file for file in native if _beginning(file).startswith(_ELF)]
    if native:
        return Program((str(native[0]),), (native[0].parent.parent,))
    return _script(path, beginning)


def _script(path: Path, beginning: bytes) -> Program:
    """A script, and who runs it."""
    words = beginning[2:].split(b"\n")[0].decode("utf-8", "replace").split()
    if words[:1] == ["/usr/bin/env"]:
        words = [word for word in words[1:] if not word.startswith("-")]
    interpreter = shutil.which(words[0]) if words else None
    if interpreter is None:
        raise UsageError(f"{path} is run by {' '.join(words) or 'nothing'!r}, which is not there")
    real = Path(os.path.realpath(interpreter))
    return Program((str(real), str(path)), (real.parent, path.parent))


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(256)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error

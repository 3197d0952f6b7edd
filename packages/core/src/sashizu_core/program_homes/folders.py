"""The folders that a program is installed in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sashizu_core.home import config_home, state_home
from sashizu_core.program_homes.interpreters import is_trusted_python, prefix_of
from sashizu_core.program_homes.looking import is_file, is_folder

__all__ = ["homes_of"]

_OF_A_PERSON = (".local", ".local/share", ".local/state", ".config", ".cache")
_OF_THE_SYSTEM = ("/root", "/home", "/etc", "/var")

_NOT_OF_ONE = ("etc", "var", "state")
"""Folders that show a prefix to be that of many programs, with their settings and data."""

_OF_AN_INTERPRETER = (
    *("bin", "lib", "lib64", "libexec", "include", "pyvenv.cfg", "ssl"),
    *("share/terminfo", "share/zoneinfo"),
)

_SYSTEM = tuple(map(Path, ("/bin", "/lib", "/lib64", "/sbin", "/usr")))
"""What every sandbox shows."""


def homes_of(program: Path, real: Path, workspace: Path) -> tuple[Path, ...]:
    """The folders that must be readable for a program to start, beside the system's.

    All three are absolute paths. `program` is what is executed, `real` what it led to when it was
    checked: whoever may write the workspace may have changed a link in it since.

    An interpreter brings the whole folder it is installed in, everything else only the one that it
    lies in. A folder that equals or holds a home, a folder of settings or state, or the workspace
    is never among them: of an interpreter that is installed in such a one, only the folders that
    it consists of are.
    """
    wide = _wide(workspace)
    ours = tuple(Path(os.path.realpath(path)) for path in (state_home(), config_home()))
    kept = (*_SYSTEM, *ours, workspace)
    return tuple(
        folder
        for folder in dict.fromkeys(_homes(program, real, wide))
        if (is_folder(folder) or is_file(folder))
        and not any(path.is_relative_to(place) for path in _names(folder) for place in kept)
        and not any(_holds_any(path, wide) for path in _names(folder))
    )


def _names(folder: Path) -> tuple[Path, Path]:
    """As it is called, and as it really is."""
    return folder, Path(os.path.realpath(folder))


def _wide(workspace: Path) -> tuple[Path, ...]:
    """What no home of a program may hold, by both names."""
    home = Path.home()
    places = (
        *(workspace, state_home(), config_home(), home),
        *(home / name for name in _OF_A_PERSON),
        *map(Path, _OF_THE_SYSTEM),
    )
    return tuple(dict.fromkeys(name for place in places for name in _names(place)))


def _holds_any(folder: Path, places: Iterable[Path]) -> bool:
    return any(place.is_relative_to(folder) for place in places)


def _homes(program: Path, real: Path, wide: tuple[Path, ...]) -> Iterator[Path]:
    for path in dict.fromkeys((program, real)):
        prefix = path.parent.parent
        if is_file(prefix / "pyvenv.cfg"):
            yield from _parts(prefix, wide)
            python = Path(os.path.realpath(path.parent / "python"))
            if is_trusted_python(python):  # the link may be the workspace's
                yield from _parts(python.parent.parent, wide)
        elif (found := prefix_of(path)) is not None:
            yield from _parts(found, wide)
        else:
            yield path.parent


def _parts(prefix: Path, wide: tuple[Path, ...]) -> Iterator[Path]:
    """The prefix of an interpreter, or what it needs of one that holds other things too."""
    shared = any(is_folder(prefix / name) for name in _NOT_OF_ONE)
    if shared or any(_holds_any(path, wide) for path in _names(prefix)):
        yield from (prefix / name for name in _OF_AN_INTERPRETER)
    else:
        yield prefix

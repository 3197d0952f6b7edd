"""What a program needs around it: its environment, and the folders that it is installed in."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from sashizu_core.workspace import Workspace

from sashizu_sandbox.shell.programs import Programs

__all__ = ["environment_of", "homes_of"]

_PLACES = {"CARGO_HOME": "/tmp/cargo", "HOME": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - its own
"""Where programs keep what they need for themselves: what is there is gone when they end."""

_PLAIN_OUTPUT = {"CLICOLOR": "0", "NO_COLOR": "1", "PAGER": "cat", "TERM": "dumb"}

_SYSTEM = tuple(map(Path, ("/bin", "/lib", "/lib64", "/sbin", "/usr")))
"""What every sandbox shows."""


def environment_of(
    given: Mapping[str, str],
    own: Mapping[str, str],
    workspace: Workspace,
    programs: Programs,
    *,
    any_code: bool,
) -> dict[str, str]:
    """The variables of one program.

    `given` are those of the sandbox, `own` those that the program's table sets. Only a program that
    is any code anyway finds programs of the workspace.
    """
    folders = [str(folder) for folder in programs.folders]
    if any_code:
        folders[:0] = [str(folder) for folder in programs.own_folders if folder.is_dir()]
    return {
        **_PLACES,
        **given,
        **_PLAIN_OUTPUT,
        "GIT_CEILING_DIRECTORIES": str(workspace.root.parent),
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",
        "PATH": os.pathsep.join(folders),
        **own,
    }


def homes_of(program: Path, workspace: Workspace) -> tuple[Path, ...]:
    """The folders that must be readable for a program to start, beside the system's.

    An interpreter brings the whole folder it is installed in, everything else only the one that it
    lies in. A folder that holds a home or the workspace is never among them, whatever a link or a
    configuration in the workspace says.
    """
    wide = (Path.home(), workspace.root)
    found = dict.fromkeys(_homes(program))
    return tuple(
        folder
        for folder in found
        if not any(folder.is_relative_to(system) for system in _SYSTEM)
        and not any(place.is_relative_to(folder) for place in wide)
        and not folder.is_relative_to(workspace.root)
    )


def _homes(program: Path) -> Iterator[Path]:
    for path in (program, Path(os.path.realpath(program))):
        prefix = path.parent.parent
        if (prefix / "pyvenv.cfg").is_file():
            yield prefix
            yield from _interpreter(Path(os.path.realpath(path.parent / "python")))
        else:
            yield from _interpreter(path) or (path.parent,)


def _interpreter(path: Path) -> tuple[Path, ...]:
    """The folder that an interpreter or compiler is installed in; none if it is neither."""
    prefix = path.parent.parent
    python = any((folder / "os.py").is_file() for folder in prefix.glob("lib/python3.*"))
    node = (prefix / "include/node/node.h").is_file()
    rust = (prefix / "lib/rustlib").is_dir()
    return (prefix,) if python or node or rust else ()

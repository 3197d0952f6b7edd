"""How a server is started: its program, what it is shown of the machine, its variables."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from sashizu_core.sandboxing import Confinement

from sashizu_mcp_server.client.configured import ServerConfig
from sashizu_mcp_server.client.faults import NotStarted
from sashizu_mcp_server.client.settings import VARIABLE

__all__ = ["argv_of", "expanded", "held"]

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PLACES = {"HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}  # noqa: S108 - its own

_HARMLESS = frozenset({"LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "TZ"})
"""Variables of our own environment that every server gets."""

_SHEBANG_BYTES = 512

_SYSTEM = tuple(map(Path, ("/bin", "/lib", "/lib64", "/sbin", "/usr")))
"""What every sandbox shows."""


def argv_of(config: ServerConfig, workspace: Path, env: Mapping[str, str]) -> tuple[str, ...]:
    """What is executed: the absolute path of the program, and its arguments.

    Raises:
        NotStarted: there is no such program, or a variable is not set.
    """
    program = _program_of(config, workspace, env)
    return (str(program), *(expanded(config, word, env) for word in config.entry.args))


def _program_of(config: ServerConfig, workspace: Path, env: Mapping[str, str]) -> Path:
    """The absolute path of the program of a server.

    Raises:
        NotStarted: there is no such program.
    """
    command = expanded(config, config.entry.command or "", env)
    if "/" in command:
        found = str(workspace / Path(command).expanduser())
    else:
        found = shutil.which(command, path=env.get("PATH", _SYSTEM_PATH)) or ""
    if not found or not os.access(found, os.X_OK):
        raise NotStarted(config.name, f"cannot be started: there is no program {command!r}")
    return Path(os.path.abspath(found))  # noqa: PTH100 - a link stays what it is called


def expanded(config: ServerConfig, text: str, env: Mapping[str, str]) -> str:
    """A text with `${NAME}` and `${NAME:-default}` replaced by variables.

    Only the operator's own servers are told more than the harmless ones.

    Raises:
        NotStarted: a variable is not set, or not for this server.
    """

    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        told = config.own or name in _HARMLESS
        if told and name in env:
            return env[name]
        if default is not None:
            return default
        why = "is not set" if told else f"is not told to a server of {config.origin}"
        raise NotStarted(config.name, f"cannot be started: the variable {name!r} {why}")

    return VARIABLE.sub(value, text)


def held(
    config: ServerConfig,
    confinement: Confinement,
    program: Path,
    workspace: Path,
    env: Mapping[str, str],
) -> Confinement:
    """What holds a server: what holds its agent's programs, and what it needs to start.

    Raises:
        NotStarted: a variable of its entry cannot be told.
    """
    entry = config.entry
    variables = {
        **_PLACES,
        **{name: env[name] for name in sorted(_HARMLESS) if name in env},
        "PATH": os.pathsep.join((str(program.parent), _SYSTEM_PATH)),
        **{name: env[name] for name in config.pass_env if name in env},
        **{name: expanded(config, value, env) for name, value in entry.env.items()},
    }
    cwd = workspace / expanded(config, entry.cwd, env) if entry.cwd else workspace
    return replace(
        confinement,
        cwd=cwd,
        readable=(*confinement.readable, *config.read, *_homes_of(program, workspace)),
        writable=(*confinement.writable, *config.write),
        environment=variables,
    )


def _homes_of(program: Path, workspace: Path) -> tuple[Path, ...]:
    """The folders that have to be readable for a program to start, beside the system's.

    Never one that holds a home or the workspace.
    """
    wide = (Path.home(), workspace)
    return tuple(
        folder
        for folder in dict.fromkeys(_homes(program, 0))
        if not any(folder.is_relative_to(system) for system in _SYSTEM)
        and not any(place.is_relative_to(folder) for place in wide)
        and not folder.is_relative_to(workspace)
    )


def _homes(program: Path, depth: int) -> Iterator[Path]:
    for path in dict.fromkeys((program, Path(os.path.realpath(program)))):
        prefix = path.parent.parent
        if (prefix / "pyvenv.cfg").is_file():
            yield prefix
            yield from _homes_of_interpreter(Path(os.path.realpath(prefix / "bin/python")))
        elif _is_interpreter(prefix):
            yield prefix
        else:
            yield path.parent
    if depth < 2 and (interpreter := _shebang(program)) is not None:
        yield from _homes(interpreter, depth + 1)


def _homes_of_interpreter(path: Path) -> Iterator[Path]:
    if _is_interpreter(path.parent.parent):
        yield path.parent.parent


def _is_interpreter(prefix: Path) -> bool:
    python = any((folder / "os.py").is_file() for folder in prefix.glob("lib/python3.*"))
    return python or (prefix / "include/node/node.h").is_file()


def _shebang(program: Path) -> Path | None:
    """The interpreter that a script names in its first line."""
    try:
        with program.open("rb") as file:
            first = file.read(_SHEBANG_BYTES).split(b"\n", 1)[0]
    except OSError:
        return None
    words = first[2:].split() if first.startswith(b"#!") else []
    if not words or not words[0].startswith(b"/"):
        return None
    return Path(os.fsdecode(words[0]))

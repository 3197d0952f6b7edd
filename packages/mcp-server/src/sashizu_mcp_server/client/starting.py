"""How a server is started: its program, what it is shown of the machine, its variables."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from sashizu_core.program_homes.folders import homes_of
from sashizu_core.program_homes.interpreters import is_trusted_python
from sashizu_core.program_homes.secrets import hidden_in
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

_DEEPEST = 3
"""A script, what interprets it, and what interprets that."""


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
    """What holds a server: what holds its agent's programs, and what it needs to start. Blocks.

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
    homes = tuple(dict.fromkeys(_homes(program, workspace)))
    secrets = (path for home in homes for path in hidden_in(home))
    named = tuple(Path(os.path.realpath(path)) for path in config.read)
    return replace(
        confinement,
        cwd=cwd,
        readable=(*confinement.readable, *config.read, *homes),
        hidden=(*confinement.hidden, *(path for path in secrets if not _is_among(path, named))),
        writable=(*confinement.writable, *config.write),
        environment=variables,
    )


def _homes(program: Path, workspace: Path) -> Iterator[Path]:
    """The folders that have to be readable for a program to start, and for what interprets it.

    Whoever may write the workspace chooses where its links lead and what its scripts name: beside
    what lies in the workspace, those bring nothing but a Python.
    """
    path: Path | None = program
    for _ in range(_DEEPEST):
        if path is None:
            return
        real = Path(os.path.realpath(path))
        theirs = path.is_relative_to(workspace)
        yield from homes_of(path, path if theirs else real, workspace)
        path = _shebang(path)
        if theirs and path is not None and not _brings_little(path, workspace):
            return


def _is_among(path: Path, named: tuple[Path, ...]) -> bool:
    """Whether the operator named it, or a folder that it lies in."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(each) for each in named)


def _brings_little(interpreter: Path, workspace: Path) -> bool:
    real = Path(os.path.realpath(interpreter))
    return interpreter.is_relative_to(workspace) or is_trusted_python(real)


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

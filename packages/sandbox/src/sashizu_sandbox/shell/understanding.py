"""From a parsed command line to what it asks for, and to what would run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from sashizu_core.errors import ToolError
from sashizu_core.grants import ExecRequest, PathRequest, PermissionRequest
from sashizu_core.workspace import Workspace

from sashizu_sandbox.shell.joining import Joined, Joint, Pipeline, SimpleCommand, Target
from sashizu_sandbox.shell.programs import Program, Programs
from sashizu_sandbox.shell.reading import Reading, read_command
from sashizu_sandbox.shell.tables import Table, table_of

__all__ = ["Understood", "UnderstoodStage", "requests_of", "understand"]


@dataclass(frozen=True, slots=True)
class Understood:
    """One command: its program, its arguments, and the folder it runs in, as a name."""

    program: Program
    reading: Reading
    cwd: str
    paths: tuple[PathRequest, ...]
    stdout: Target
    stderr: Target


@dataclass(frozen=True, slots=True)
class UnderstoodStage:
    """Commands that are piped into each other, and how they are joined to what came before."""

    joint: Joint
    commands: tuple[Understood, ...]


def understand(
    line: Sequence[Joined], cwd: str, workspace: Workspace, programs: Programs
) -> tuple[UnderstoodStage, ...]:
    """Find the programs of a line, and what their arguments mean.

    `cwd` is a name of the workspace. `cd FOLDER &&` at the start moves it.

    Raises:
        ToolError: a program is not there or never runs, or a path lies outside the workspace.
    """
    cwd, rest = _moved(line, cwd, workspace)
    stages = []
    for joined in rest:
        commands = [
            _command(command, at > 0, cwd, workspace, programs)
            for at, command in enumerate(joined.pipeline.commands)
        ]
        stages.append(UnderstoodStage(joined.joint, tuple(commands)))
    return tuple(stages)


def requests_of(
    stages: Sequence[UnderstoodStage], cwd: str, enforced_by: str
) -> tuple[PermissionRequest, ...]:
    """All that a line asks for: its programs, and the paths that are known to be touched."""
    found: list[PermissionRequest] = []
    for command in (command for stage in stages for command in stage.commands):
        reading = command.reading
        found.append(
            ExecRequest(
                argv=tuple(reading.words),
                program=str(command.program.path),
                any_code=reading.any_code,
                doubt=reading.doubt,
                enforced_by=enforced_by,
            )
        )
        found += command.paths
        if command.cwd != cwd or cwd != ".":
            found.append(PathRequest(command.cwd, "read"))
    return tuple(dict.fromkeys(found))


# --- where it runs --------------------------------------------------------------------------------


def _moved(line: Sequence[Joined], cwd: str, workspace: Workspace) -> tuple[str, Sequence[Joined]]:
    """Take `cd FOLDER &&` off the start of a line: where the rest runs, and the rest."""
    at = 0
    while (
        at + 1 < len(line) and line[at + 1].joint == "&&" and (to := _moves_to(line[at].pipeline))
    ):
        cwd = _named(to, cwd, workspace)
        at += 1
    if not at:
        return cwd, line
    return cwd, (Joined("", line[at].pipeline), *line[at + 1 :])


def _moves_to(pipeline: Pipeline) -> str:
    match pipeline.commands:
        case (SimpleCommand(words=("cd", folder)),) if not folder.startswith("-"):
            return folder
        case _:
            return ""


def _named(text: str, cwd: str, workspace: Workspace) -> str:
    """The name of a path that was written relative to a folder.

    Raises:
        ToolError: it lies outside the workspace.
    """
    absolute = text.startswith("/") or cwd == "."
    return workspace.name(text if absolute else f"{cwd}/{text}")


# --- one command ----------------------------------------------------------------------------------


def _command(
    command: SimpleCommand, piped: bool, cwd: str, workspace: Workspace, programs: Programs
) -> Understood:
    program, table = _program(command.words[0], cwd, workspace, programs)
    words = (program.name, *command.words[1:])
    if table is None:
        reading = Reading(list(words), any_code=True, at=len(words))
    else:
        reading = read_command(words, table, piped=piped)
    if program.own:
        reading.any_code, reading.doubt = True, ""
        reading.inserted = ()
    paths = tuple(_paths(reading, program, cwd, workspace))
    return Understood(program, reading, cwd, paths, command.stdout, command.stderr)


def _paths(
    reading: Reading, program: Program, cwd: str, workspace: Workspace
) -> Iterator[PathRequest]:
    for text, access in reading.paths:
        yield PathRequest(_named(text, cwd, workspace), access)
    for text in reading.inside:
        yield PathRequest(_named(text, cwd, workspace), "read")
        if not text.startswith(("./", "../")):
            yield PathRequest(workspace.name(text), "read")
    for name, access in reading.touches:
        yield PathRequest(name, access)
    if program.own:
        yield PathRequest(program.path.relative_to(workspace.root).as_posix(), "read")


def _program(
    word: str, cwd: str, workspace: Workspace, programs: Programs
) -> tuple[Program, Table | None]:
    """The program that a first word means, and its table.

    What is any code comes from the workspace first, as in its own environment; everything else is
    taken from trusted folders only, if they have it.

    Raises:
        ToolError: there is none, or it never runs.
    """
    if "/" in word:
        return _program_at(word, cwd, workspace, programs)
    table = table_of(word)
    if table is not None and table.never:
        raise ToolError(f"{word!r} is not run: {table.never}")
    trusted, own = programs.trusted(word), programs.own(word)
    prefers_own = table is not None and table.any_code
    found = (own or trusted) if prefers_own else (trusted or own)
    if found is None:
        folders = ", ".join(str(folder) for folder in programs.folders)
        reasons = filter(None, (programs.why_not(each / word) for each in programs.own_folders))
        more = "".join(f"; {reason}" for reason in reasons)
        raise ToolError(f"there is no program {word!r}; looked in {folders}{more}")
    return found, table


def _program_at(
    word: str, cwd: str, workspace: Workspace, programs: Programs
) -> tuple[Program, Table | None]:
    """A program that is named by its path."""
    if PurePosixPath(word).is_absolute():
        path = workspace.root / PurePosixPath(word)
    else:
        path = workspace.path(_named(word, cwd, workspace))
    found = programs.at(path)
    if found is None:
        reason = f"; {why}" if (why := programs.why_not(path)) else ""
        raise ToolError(
            f"{word!r} is no program that can be run: it is not there, not executable, or lies "
            f"outside the workspace and the folders of programs{reason}"
        )
    table = table_of(found.name)
    if table is not None and table.never:
        raise ToolError(f"{word!r} is not run: {table.never}")
    return found, table

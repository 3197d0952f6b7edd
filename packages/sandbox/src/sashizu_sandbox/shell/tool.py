"""The tool `shell`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import Self
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from pydantic import Field, model_validator
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import ToolError
from sashizu_core.grants import PermissionRequest
from sashizu_core.program_homes.folders import homes_of
from sashizu_core.program_homes.secrets import hidden_in
from sashizu_core.protocols import ToolContext
from sashizu_core.sandboxing import Confinement, Sandbox
from sashizu_core.types import StepKind, ToolResult
from sashizu_core.workspace import Workspace

from sashizu_sandbox.shell.joining import Joined
from sashizu_sandbox.shell.line import parse_argv, parse_line
from sashizu_sandbox.shell.output import Output
from sashizu_sandbox.shell.programs import Programs
from sashizu_sandbox.shell.repositories import filters_named
from sashizu_sandbox.shell.running import Command, Ended, Stage, run_commands
from sashizu_sandbox.shell.surroundings import environment_of
from sashizu_sandbox.shell.understanding import (
    Understood,
    UnderstoodStage,
    requests_of,
    understand,
)

__all__ = ["Shell", "ShellArguments"]

TIMEOUT_S = 120.0
MAX_TIMEOUT_S = 3600.0


class ShellArguments(Arguments):
    command: str | None = Field(
        None,
        description="A command line, such as 'git log --oneline -5 | head -3'. Plain words, "
        "quotes, '|', '&&', '||', ';', '2>&1' and '>/dev/null' are understood; nothing is "
        "expanded.",
    )
    argv: tuple[str, ...] | None = Field(
        None, min_length=1, description="Instead of command: the program and its arguments."
    )
    cwd: str | None = Field(
        None, description="The folder to run in, relative to the workspace; '.' by default."
    )
    timeout: float = Field(
        TIMEOUT_S, gt=0, le=MAX_TIMEOUT_S, description="Seconds until it is ended."
    )

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.command is None) == (self.argv is None):
            raise ValueError("give either 'command' or 'argv'")
        return self

    def line(self) -> tuple[Joined, ...]:
        """What is to run.

        Raises:
            ToolError: it is not understood.
        """
        if self.argv is not None:
            return parse_argv(self.argv)
        return parse_line(self.command or "")


class Shell(TypedTool[ShellArguments]):
    """Runs programs, in a sandbox and without a shell. `search` is a list like `PATH`."""

    name = "shell"
    description = (
        "Run a program in the workspace, or several joined by '|', '&&', '||' or ';', without a "
        "shell: variables, patterns, substitutions and redirections to files are not understood. "
        "Output and exit status are returned; there is no terminal and no input."
    )
    arguments = ShellArguments
    kind = StepKind.EFFECT

    def __init__(self, search: str | None = None) -> None:
        self._search = search
        self._programs: WeakKeyDictionary[Workspace, Programs] = WeakKeyDictionary()

    def requests(
        self, arguments: ShellArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        cwd, stages = self._understood(arguments, context.workspace)
        sandbox = context.sandbox
        enforced = sandbox is not None and sandbox.info.kind == "enforced"
        return requests_of(stages, cwd, sandbox.info.name if sandbox and enforced else "")

    async def run(self, arguments: ShellArguments, context: ToolContext) -> ToolResult:
        sandbox, confinement = _held(context)
        _, understood = self._understood(arguments, context.workspace)
        programs = self._programs[context.workspace]
        stages = await anyio.to_thread.run_sync(
            _stages, understood, context.workspace, programs, confinement
        )
        if sandbox.info.kind != "enforced":
            await anyio.to_thread.run_sync(_check_unheld, stages, context.workspace)
        output = Output(context.progress)
        started = monotonic()
        ended: Ended | None = None
        with anyio.move_on_after(arguments.timeout):
            ended = await run_commands(stages, sandbox, output)
        return _result(ended, output, monotonic() - started, arguments.timeout)

    def _understood(
        self, arguments: ShellArguments, workspace: Workspace
    ) -> tuple[str, tuple[UnderstoodStage, ...]]:
        programs = self._programs.get(workspace)
        if programs is None:
            programs = self._programs[workspace] = Programs(workspace, self._search)
        cwd = workspace.name(arguments.cwd or ".")
        return cwd, understand(arguments.line(), cwd, workspace, programs)


def _held(context: ToolContext) -> tuple[Sandbox, Confinement]:
    """What holds the programs of an agent.

    Raises:
        ToolError: nothing does.
    """
    if context.sandbox is None or context.confinement is None:
        raise ToolError(
            "no program is run: nothing on this machine can hold it "
            "(`sashizu doctor` says why, and what to do); the file tools work without"
        )
    return context.sandbox, context.confinement


def _result(ended: Ended | None, output: Output, took_s: float, timeout_s: float) -> ToolResult:
    """The answer: how it ended in the first line, then what was printed."""
    printed = output.text()
    if ended is None:
        return ToolResult(f"ended after the timeout of {timeout_s:g} s\n{printed}", is_error=True)
    what = f"exit status {ended.status}"
    if ended.status < 0:
        what = f"ended by signal {-ended.status}"
    by = f" of {ended.program}" if ended.status else ""
    text = f"{what}{by}, {took_s:.1f} s\n{printed or '(it printed nothing)'}"
    return ToolResult(text, is_error=ended.status != 0)


# --- what runs ------------------------------------------------------------------------------------


def _stages(
    understood: Sequence[UnderstoodStage],
    workspace: Workspace,
    programs: Programs,
    confinement: Confinement,
) -> tuple[Stage, ...]:
    """Commands as they are executed. Looks at folders, and so blocks."""
    return tuple(
        Stage(
            stage.joint,
            tuple(
                _command(command, workspace, programs, confinement) for command in stage.commands
            ),
        )
        for stage in understood
    )


def _check_unheld(stages: Sequence[Stage], workspace: Workspace) -> None:
    """Refuse what only an enforcing sandbox could hold and no argument shows.

    Raises:
        ToolError: git would start what a repository's configuration names.
    """
    for command in (command for stage in stages for command in stage.commands):
        folder = command.confinement.cwd
        if command.program.name == "git" and (named := filters_named(folder, workspace.root)):
            raise ToolError(
                f"git does not run: {named} names filters, which are programs, and nothing on "
                "this machine enforces what they may do"
            )


def _command(
    command: Understood, workspace: Workspace, programs: Programs, confinement: Confinement
) -> Command:
    folder = workspace.path(command.cwd)
    if command.cwd != "." and not folder.is_dir():
        raise ToolError(f"there is no folder {command.cwd!r} to run in; nothing was run")
    program, reading = command.program, command.reading
    homes = homes_of(program.path, program.real, workspace.root)
    held = replace(
        confinement,
        cwd=folder,
        readable=tuple(dict.fromkeys((*confinement.readable, *homes))),
        hidden=(*confinement.hidden, *(path for home in homes for path in hidden_in(home))),
        environment=environment_of(
            confinement.environment,
            reading.environment,
            workspace,
            programs,
            any_code=reading.any_code,
        ),
    )
    argv = (str(program.path), *reading.argv[1:])
    return Command(program, argv, held, command.stdout, command.stderr)

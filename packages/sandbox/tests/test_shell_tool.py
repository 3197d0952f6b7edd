"""The tool `shell`, end to end, with a sandbox that holds nothing."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any, ClassVar

import anyio
import anyio.abc
import pytest
from sashizu_core.errors import ArgumentsError, ToolError
from sashizu_core.grants import ExecRequest, Grants, PathRequest, Subject
from sashizu_core.permissions import readable
from sashizu_core.protocols import Tool, ToolContext
from sashizu_core.sandboxing import Confinement, SandboxedProcess, SandboxInfo
from sashizu_core.specs import ToolSpec
from sashizu_core.testing import ToolContract
from sashizu_core.types import ToolResult
from sashizu_core.workspace import Workspace
from sashizu_sandbox.plugin import register_tools
from sashizu_sandbox.shell.output import Output
from sashizu_sandbox.shell.programs import Programs
from sashizu_sandbox.shell.running import Command, Stage, run_commands

FILES = {
    "notes.txt": "one\ntwo\nthree\n",
    "src/main.py": "print('hi')\n",
}


class Spawned:
    """A process as the tool sees it; its group dies with it."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self.stdin = process.stdin
        self.stdout = process.stdout
        self.stderr = process.stderr

    async def wait(self) -> int:
        return await self._process.wait()

    def kill(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


class Unheld:
    """Starts programs as they are, and says that it holds them; `started` is what it was given."""

    def __init__(self, kind: str = "enforced") -> None:
        self.info = SandboxInfo("unheld", kind)  # type: ignore[arg-type]
        self.started: list[tuple[tuple[str, ...], Confinement]] = []

    @asynccontextmanager
    async def start(
        self, argv: Sequence[str], confinement: Confinement, *, stdin: bool = False
    ) -> AsyncIterator[SandboxedProcess]:
        self.started.append((tuple(argv), confinement))
        process = await anyio.open_process(
            argv,
            stdin=PIPE if stdin else DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            cwd=confinement.cwd,
            env=dict(confinement.environment),
            start_new_session=True,
        )
        spawned = Spawned(process)
        try:
            yield spawned
        finally:
            spawned.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    for path, text in FILES.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    with Workspace.open(tmp_path) as workspace:
        yield workspace


@pytest.fixture
def sandbox() -> Unheld:
    return Unheld()


@pytest.fixture
def context(workspace: Workspace, sandbox: Unheld) -> ToolContext:
    grants = Grants(tools=None, fs_read=(".",), fs_write=(".",))
    subject = Subject("agent", "tester", (grants,))
    root = workspace.root
    confinement = Confinement(root, readable=(root,), environment={"LANG": "C.UTF-8"})
    return ToolContext(
        "agent",
        "tester",
        "run",
        workspace,
        readable=readable(subject),
        sandbox=sandbox,
        confinement=confinement,
    )


def shell_spec() -> ToolSpec:
    return next(spec for spec in register_tools(None) if spec.name == "shell")  # type: ignore[arg-type]


@pytest.fixture
async def shell() -> AsyncIterator[Tool]:
    async with shell_spec().open() as tool:
        yield tool


class TestShell(ToolContract):
    call: ClassVar = {"command": "cat notes.txt | head -2"}

    @pytest.fixture
    def spec(self) -> ToolSpec:
        return shell_spec()

    @pytest.fixture
    def context(self, workspace: Workspace) -> ToolContext:
        root = workspace.root
        return ToolContext(
            "agent",
            "tester",
            "run",
            workspace,
            sandbox=Unheld(),
            confinement=Confinement(root, readable=(root,)),
        )


async def ran(shell: Tool, context: ToolContext, **arguments: Any) -> ToolResult:
    parsed = shell.parse(json.dumps(arguments))
    shell.requests(parsed, context)
    return await shell.run(parsed, context)


def requests(shell: Tool, context: ToolContext, **arguments: Any) -> tuple[object, ...]:
    return tuple(shell.requests(shell.parse(json.dumps(arguments)), context))


# --- what it runs ---------------------------------------------------------------------------------


async def test_a_program_runs_and_says_how_it_ended(shell: Tool, context: ToolContext) -> None:
    result = await ran(shell, context, command="cat notes.txt")
    first, _, rest = result.content.partition("\n")
    assert first.startswith("exit status 0, ")
    assert rest == "one\ntwo\nthree\n"
    assert not result.is_error


async def test_commands_are_piped_into_each_other(shell: Tool, context: ToolContext) -> None:
    result = await ran(shell, context, command="cat notes.txt | grep -v two | wc -l")
    assert result.content.splitlines()[1].strip() == "2"


async def test_a_failure_in_a_pipeline_is_not_hidden_by_its_end(
    shell: Tool, context: ToolContext
) -> None:
    result = await ran(shell, context, command="cat missing.txt | wc -l")
    assert result.is_error
    assert result.content.startswith("exit status 1 of cat")
    assert "No such file" in result.content


async def test_who_stops_reading_fails_nobody(shell: Tool, context: ToolContext) -> None:
    result = await ran(shell, context, command="seq 1000000 | head -n 1")
    assert result.content.splitlines()[1:] == ["1"]
    assert not result.is_error


@pytest.mark.parametrize(
    ("command", "printed"),
    [
        ("true && echo a", "a"),
        ("false && echo a || echo b", "b"),
        ("false || echo a; echo b", "a\nb"),
        ("true || echo a", "(it printed nothing)"),
        ("cd src && cat main.py", "print('hi')"),
        ("echo 'a  b' \"c d\" e\\ f", "a  b c d e f"),
        ("cat missing 2>/dev/null; echo done", "done"),
        ("echo a >/dev/null", "(it printed nothing)"),
        ("cat missing 2>&1 | wc -l", "1"),
    ],
)
async def test_joints_quotes_and_redirections_mean_what_they_mean_to_a_shell(
    shell: Tool, context: ToolContext, command: str, printed: str
) -> None:
    result = await ran(shell, context, command=command)
    assert result.content.split("\n", 1)[1].strip() == printed


async def test_argv_is_taken_word_by_word(shell: Tool, context: ToolContext) -> None:
    result = await ran(shell, context, argv=["echo", "$HOME", "*", "a; b", "`c`"])
    assert result.content.splitlines()[1] == "$HOME * a; b `c`"


async def test_it_runs_in_the_folder_it_is_given(shell: Tool, context: ToolContext) -> None:
    result = await ran(shell, context, command="ls", cwd="src")
    assert result.content.splitlines()[1:] == ["main.py"]
    with pytest.raises(ToolError, match="no folder 'none'"):
        await ran(shell, context, command="ls", cwd="none")


async def test_no_shell_and_no_variable_of_ours_reaches_a_program(
    shell: Tool, context: ToolContext, sandbox: Unheld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASHIZU_TEST_SECRET", "s3cret")
    result = await ran(shell, context, command="printenv")
    assert "s3cret" not in result.content
    assert "LANG=C.UTF-8" in result.content
    ((argv, _),) = sandbox.started
    assert Path(argv[0]).is_absolute()
    assert Path(argv[0]).name == "printenv"


async def test_what_git_would_start_is_switched_off(
    shell: Tool, context: ToolContext, sandbox: Unheld
) -> None:
    await ran(shell, context, command="git log --oneline -3")
    ((argv, confinement),) = sandbox.started
    assert "--no-ext-diff" in argv
    assert "--no-textconv" in argv
    assert confinement.environment["GIT_CONFIG_GLOBAL"] == "/dev/null"
    assert confinement.environment["GIT_PAGER"] == "cat"


# --- what it prints -------------------------------------------------------------------------------


async def test_output_is_shown_while_it_runs(shell: Tool, context: ToolContext) -> None:
    heard: list[str] = []
    await ran(shell, replace(context, progress=heard.append), command="cat notes.txt")
    assert heard == ["one", "two", "three"]


async def test_long_output_keeps_its_beginning_and_its_end(
    shell: Tool, context: ToolContext
) -> None:
    result = await ran(shell, context, command="seq 100000")
    lines = result.content.splitlines()
    assert lines[1] == "1"
    assert lines[-1] == "100000"
    assert "[left out: " in result.content
    assert len(result.content) < 70_000


# --- how it ends ----------------------------------------------------------------------------------


async def test_a_program_is_ended_after_its_timeout(shell: Tool, context: ToolContext) -> None:
    with anyio.fail_after(10):
        result = await ran(shell, context, command="sleep 60", timeout=0.2)
    assert result.is_error
    assert result.content.startswith("ended after the timeout of 0.2 s")


async def test_a_signal_is_named(shell: Tool, context: ToolContext) -> None:
    result = await ran(shell, context, argv=["sh", "-c", "kill -9 $$"])
    assert result.content.startswith("ended by signal 9 of sh")


async def test_nothing_runs_where_nothing_holds_it(
    shell: Tool, context: ToolContext, sandbox: Unheld
) -> None:
    with pytest.raises(ToolError, match="nothing on this machine can hold it"):
        await ran(shell, replace(context, sandbox=None), command="ls")
    with pytest.raises(ToolError, match="nothing on this machine can hold it"):
        await ran(shell, replace(context, confinement=None), command="ls")
    assert not sandbox.started


async def test_a_program_of_the_workspace_runs(
    shell: Tool, context: ToolContext, workspace: Workspace
) -> None:
    script = workspace.root / "build.sh"
    script.write_text("#!/bin/sh\necho built\n")
    script.chmod(0o755)
    assert (await ran(shell, context, command="./build.sh")).content.endswith("built\n")


async def test_a_program_that_was_replaced_since_it_was_judged_does_not_run(
    workspace: Workspace, sandbox: Unheld
) -> None:
    script = workspace.root / "build.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    program = Programs(workspace).at(script)
    assert program is not None
    (workspace.root / "other.sh").write_text("#!/bin/sh\necho evil\n")
    (workspace.root / "other.sh").chmod(0o755)
    (workspace.root / "other.sh").rename(script)
    command = Command(
        program, (str(script),), Confinement(workspace.root), stdout="out", stderr="err"
    )
    with pytest.raises(ToolError, match="not the file any more that was judged"):
        await run_commands([Stage("", (command,))], sandbox, Output())
    assert not sandbox.started


@pytest.mark.parametrize("section", ['[filter "x"]\n\tclean = id', "[include]\n\tpath = x"])
@pytest.mark.parametrize("linked", [False, True])
async def test_git_starts_no_filters_where_nothing_enforces(
    shell: Tool, context: ToolContext, workspace: Workspace, section: str, linked: bool
) -> None:
    root = workspace.root
    repository = root / "elsewhere" if linked else root / ".git"
    repository.mkdir()
    (repository / "config").write_text("[core]\n\tbare = false\n")
    if linked:
        (repository / "worktrees/x").mkdir(parents=True)
        (repository / "worktrees/x/commondir").write_text("../..\n")
        (root / ".git").write_text(f"gitdir: {repository}/worktrees/x\n")
    unheld = replace(context, sandbox=Unheld("partial"))
    await ran(shell, unheld, command="git log", cwd="src")
    (repository / "config").write_text(f"[core]\n\tbare = false\n{section}\n")
    with pytest.raises(ToolError, match="names filters, which are programs"):
        await ran(shell, unheld, command="git log", cwd="src")
    await ran(shell, context, command="git log", cwd="src")


# --- what it asks for -----------------------------------------------------------------------------


async def test_it_asks_for_its_programs_and_for_the_paths_they_touch(
    shell: Tool, context: ToolContext
) -> None:
    found = requests(shell, context, command="sort -o out.txt notes.txt | cat ./src/../notes.txt")
    programs = [(r.argv, r.doubt, r.any_code) for r in found if isinstance(r, ExecRequest)]
    assert programs == [
        (("sort", "-o", "out.txt", "notes.txt"), "", False),
        (("cat", "./src/../notes.txt"), "", False),
    ]
    assert PathRequest("out.txt", "write") in found
    assert PathRequest("notes.txt", "read") in found


@pytest.mark.parametrize("command", ["python3 x.py", "pytest -q", "make", "npm test", "./run.sh"])
async def test_what_runs_code_says_so_and_what_will_hold_it(
    shell: Tool, context: ToolContext, workspace: Workspace, command: str
) -> None:
    for name in ("pytest", "npm", "make"):
        own = workspace.root / ".venv/bin" / name
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text("#!/bin/sh\n")
        own.chmod(0o755)
    (workspace.root / "run.sh").write_text("#!/bin/sh\n")
    (workspace.root / "run.sh").chmod(0o755)
    (asked,) = [r for r in requests(shell, context, command=command) if isinstance(r, ExecRequest)]
    assert asked.any_code
    assert asked.enforced_by == "unheld"
    partial = replace(context, sandbox=Unheld("partial"))
    (asked,) = [r for r in requests(shell, partial, command=command) if isinstance(r, ExecRequest)]
    assert asked.enforced_by == ""


@pytest.mark.parametrize(
    "arguments",
    [{}, {"command": "ls", "argv": ["ls"]}, {"argv": []}, {"command": "", "argv": None}],
)
async def test_either_a_line_or_words_have_to_be_given(
    shell: Tool, context: ToolContext, arguments: dict[str, Any]
) -> None:
    with pytest.raises((ArgumentsError, ToolError)):
        requests(shell, context, **arguments)

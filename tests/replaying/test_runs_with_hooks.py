"""Runs with hooks: what they said is taken from the record, and they run for what follows."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import SashizuError
from sashizu_core.grants import PermissionRequest
from sashizu_core.protocols import Tool, ToolContext
from sashizu_core.sandboxing import Confinement, SandboxInfo
from sashizu_core.specs import SandboxSpec, ToolSpec
from sashizu_core.testing.fakes import FixedApprover, call
from sashizu_core.types import Limits, ModelRequest, Outcome, StepKind, ToolResult

READS: Mapping[str, Any] = {"tools": {"mcp": ["read_file"], "fs": {"read": True}}}


class Stdin:
    """Hears what a command is told."""

    def __init__(self) -> None:
        self.heard = b""
        self.closed = anyio.Event()

    async def send(self, data: bytes) -> None:
        self.heard += data

    async def aclose(self) -> None:
        self.closed.set()


async def stream(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


class Command:
    """A program that answers as `Commands` says."""

    def __init__(self, commands: Commands, command: str) -> None:
        self.stdin = Stdin()
        self._commands = commands
        self._command = command

    async def wait(self) -> int:
        await self.stdin.closed.wait()
        told = json.loads(self.stdin.heard)
        self._commands.ran.append((told["hook_event_name"], self._command))
        if self._commands.while_running is not None:
            self._commands.while_running(self._command)
        return self._commands.status.get(self._command, 0)

    @property
    def stdout(self) -> AsyncIterator[bytes]:
        return stream(self._commands.says.get(self._command, ""))

    @property
    def stderr(self) -> AsyncIterator[bytes]:
        return stream(self._commands.complains.get(self._command, ""))

    def kill(self) -> None:
        """It has ended."""


class Commands:
    """A sandbox in which commands run that are only names; `ran` are the events and theirs."""

    info = SandboxInfo("commands", "enforced")

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.says: dict[str, str] = {}
        self.complains: dict[str, str] = {}
        self.status: dict[str, int] = {}
        self.while_running: Any = None

    @asynccontextmanager
    async def start(
        self, argv: Sequence[str], confinement: Confinement, *, stdin: bool = False
    ) -> AsyncIterator[Command]:
        yield Command(self, argv[-1])


@pytest.fixture
def hooks(world: Any) -> Commands:
    commands = Commands()

    @asynccontextmanager
    async def open_() -> AsyncIterator[Commands]:
        yield commands

    spec = SandboxSpec("commands", "runs names", lambda: commands.info, open_)
    world.offered["sandboxes"] = {"commands": spec}
    return commands


def on(**commands: str) -> dict[str, Any]:
    """A table of hooks: a command for each event."""
    return {
        event: [{"hooks": [{"type": "command", "command": command}]}]
        for event, command in commands.items()
    }


def turns(*answers: Any) -> Any:
    def answer(request: ModelRequest) -> Any:
        given = answers[sum(message.role == "assistant" for message in request.messages)]
        return given() if callable(given) else given

    return answer


def reads(*names: str) -> list[Any]:
    return [call("read_file", name, path="a.txt") for name in names]


ALL = on(
    SessionStart="begin",
    UserPromptSubmit="asked",
    PreToolUse="before",
    PostToolUse="after",
    Stop="stop",
)


def told(model: Any) -> list[str]:
    return [message.content for message in model.requests[-1].messages if message.role == "tool"]


# --- replay ---------------------------------------------------------------------------------------


async def test_a_replay_takes_what_hooks_said_and_runs_none(world: Any, hooks: Commands) -> None:
    world.settings["hooks"] = ALL
    hooks.says = {"begin": "be brief", "after": '{"decision": "block", "reason": "look closer"}'}
    model = world.agent("worker", turns(reads("one", "two"), "done"), **READS)
    report = await world.run("worker", budget=Limits(tokens=90_000))
    assert report.results[0].answer == "done"
    assert "look closer" in told(model)[0]
    assert "be brief" in model.requests[0].messages[1].content
    ran = list(hooks.ran)
    assert len(ran) == 7
    world.settings.clear()
    found = await world.replay(report.run_id)
    assert found.differences == ()
    assert found.compared > 0
    assert hooks.ran == ran
    assert (await world.replay(found.run_id)).differences == ()


async def test_what_a_hook_denied_asked_and_kept_is_replayed(world: Any, hooks: Commands) -> None:
    world.settings["hooks"] = on(PreToolUse="before", Stop="stop")
    world.settings["hooks"]["PreToolUse"].append(
        {"matcher": "nothing", "hooks": [{"type": "command", "command": "never"}]}
    )
    hooks.status = {"before": 2}
    hooks.complains = {"before": "not that file"}
    hooks.says = {"stop": '{"decision": "block", "reason": "go on"}'}
    model = world.agent("worker", turns(reads("one"), "done", "done", "done", "done"), **READS)
    report = await world.run("worker")
    assert "not that file" in told(model)[0]
    assert report.results[0].ok
    assert len(model.requests) == 5
    world.settings.clear()
    found = await world.replay(report.run_id)
    assert found.differences == ()
    assert [event for event, _ in hooks.ran] == ["PreToolUse", *["Stop"] * 4]


async def test_a_hook_that_failed_denies_in_the_replay_as_it_did(
    world: Any, hooks: Commands
) -> None:
    world.settings["hooks"] = on(PreToolUse="before")
    hooks.status = {"before": 1}
    hooks.complains = {"before": "broken"}
    model = world.agent("worker", turns(reads("one"), "done"), **READS)
    report = await world.run("worker")
    assert "the hook did not work: broken" in told(model)[0]
    world.settings["hooks"] = {"on_failure": "tell"}
    assert (await world.replay(report.run_id)).differences == ()


async def test_a_task_that_a_hook_refused_is_refused_in_the_replay(
    world: Any, hooks: Commands
) -> None:
    world.settings["hooks"] = on(UserPromptSubmit="asked")
    hooks.status, hooks.complains = {"asked": 2}, {"asked": "no such work"}
    world.agent("worker", ["done"])
    report = await world.run("worker")
    assert report.results[0].outcome is Outcome.FAILED
    found = await world.replay(report.run_id)
    assert found.differences == ()
    assert "no such work" in found.report.results[0].error


async def test_without_what_hooks_said_there_is_no_replay(
    world: Any, hooks: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sashizu_core.turn.reacting.written_said", lambda *_args: "")
    world.settings["hooks"] = on(Stop="stop")
    world.agent("worker", ["done"])
    report = await world.run("worker")
    with pytest.raises(SashizuError, match="whose answers were not kept"):
        await world.replay(report.run_id)


# --- resume and fork ------------------------------------------------------------------------------


async def test_hooks_run_for_what_follows_and_not_for_what_is_on_record(
    world: Any, hooks: Commands
) -> None:
    world.settings["hooks"] = ALL
    hooks.says = {"after": '{"decision": "block", "reason": "look closer"}'}

    def crash() -> Any:
        world.cut_off()
        return reads("two")

    model = world.agent("worker", turns(reads("one"), crash, "done"), **READS)
    report = await world.run("worker")
    hooks.ran.clear()
    found = await world.resume(report.run_id)
    assert found.report.results[0].answer == "done"
    assert [event for event, _ in hooks.ran] == ["PreToolUse", "PostToolUse", "Stop"]
    assert all("look closer" in text for text in told(model))
    assert (await world.replay(found.run_id)).differences == ()


async def test_a_hook_that_was_running_and_writes_nothing_runs_again(
    world: Any, hooks: Commands
) -> None:
    world.settings["hooks"] = on(PreToolUse="before")
    hooks.while_running = lambda _command: world.cut_off()
    world.agent("worker", turns(reads("one"), "done"), **READS)
    report = await world.run("worker")
    found = await world.resume(report.run_id)
    assert found.doubts == ()
    assert len(hooks.ran) == 2
    assert (await world.replay(found.run_id)).differences == ()


@pytest.mark.parametrize(("answer", "runs"), [(None, 1), ("once", 2)])
async def test_a_hook_that_may_write_runs_again_only_where_somebody_says_so(
    world: Any, hooks: Commands, answer: str | None, runs: int
) -> None:
    world.settings["hooks"] = {**on(PreToolUse="before"), "write": True}
    hooks.while_running = lambda _command: world.cut_off()
    model = world.agent("worker", turns(reads("one"), "done"), **READS)
    report = await world.run("worker")
    says = FixedApprover(answer) if answer else None
    found = await world.resume(report.run_id, approver=says)
    assert [doubt.tool for doubt in found.doubts] == ["hook PreToolUse"]
    assert len(hooks.ran) == runs
    assert ("is not known" in told(model)[0]) is (answer is None)
    if says is not None:
        (question,) = says.asked
        assert question.in_doubt
    assert (await world.replay(found.run_id)).differences == ()


async def test_a_fork_takes_what_hooks_said_until_its_step(world: Any, hooks: Commands) -> None:
    world.settings["hooks"] = ALL
    world.agent("worker", turns(reads("one"), reads("two"), "done"), **READS)
    report = await world.run("worker")
    (second,) = world.query(
        "SELECT max(step) AS step FROM events WHERE kind = 'tool.requested' "
        "AND op = 'execute_tool' AND step_kind = 'pure'"
    )
    hooks.ran.clear()
    found = await world.fork(report.run_id, at=second["step"])
    assert [event for event, _ in hooks.ran] == ["PreToolUse", "PostToolUse", "Stop"]
    assert (await world.replay(found.run_id)).differences == ()


class Shell(TypedTool[Arguments]):
    """Runs nothing, and counts how often; `while_running` is called by the first time."""

    name = "shell"
    description = "Runs a command."
    arguments = Arguments
    kind = StepKind.EFFECT

    def __init__(self) -> None:
        self.ran = 0
        self.while_running: Any = None

    def parse(self, arguments: str) -> Arguments:
        return Arguments()

    def requests(self, arguments: Arguments, context: ToolContext) -> Sequence[PermissionRequest]:
        return ()

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        self.ran += 1
        self.while_running()
        return ToolResult("ran")


async def test_a_hook_of_today_does_not_have_a_check_in_doubt_made_twice(
    world: Any, hooks: Commands
) -> None:
    shell = Shell()

    @asynccontextmanager
    async def open_() -> AsyncIterator[Tool]:
        yield shell

    world.tools["shell"] = ToolSpec("shell", "runs", open_)
    shell.while_running = world.cut_off
    fields = {"tools": {"mcp": ["shell"], "shell": {"exec": ["x"]}}, "verify": ["x"]}
    world.agent("worker", ["done"], **fields)
    report = await world.run("worker")
    assert shell.ran == 1
    world.settings["hooks"] = on(Stop="stop")
    found = await world.resume(report.run_id)
    assert shell.ran == 1
    assert [doubt.tool for doubt in found.doubts] == ["shell"]
    assert hooks.ran == []
    assert (await world.replay(found.run_id)).differences == ()

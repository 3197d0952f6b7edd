"""Commands that have to pass after the answer, in runs with a shell that only pretends."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from pydantic import Field
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import ToolError
from sashizu_core.grants import ExecRequest, PermissionRequest
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Tool, ToolContext
from sashizu_core.runtime import delegate
from sashizu_core.runtime.verification import outranked
from sashizu_core.settings import Settings
from sashizu_core.specs import ToolSpec
from sashizu_core.testing.fakes import MemorySink, Script, ScriptedModel, scripted_model
from sashizu_core.types import AgentReport, Criterion, ModelInfo, StepKind, Task, ToolResult

MET = '```criteria\n[{"criterion": 1, "verdict": "met", "evidence": "I ran it"}]\n```'
SHELL = {"mcp": ["shell"], "shell": {"exec": ["pass", "fail", "wait", "odd", "long"]}}


class Command(Arguments):
    command: str = Field(description="What to run.")


class PretendedShell(TypedTool[Command]):
    """`pass` passes, `fail` fails, `wait` takes for ever, `odd …` is not understood."""

    name = "shell"
    description = "Run a program."
    arguments = Command
    kind = StepKind.EFFECT

    def __init__(self) -> None:
        self.ran: list[str] = []

    def requests(self, arguments: Command, context: ToolContext) -> Sequence[PermissionRequest]:
        words = tuple(arguments.command.split())
        if words[0] == "odd":
            raise ToolError("'odd' is not understood")
        return [ExecRequest(words, f"/usr/bin/{words[0]}")]

    async def run(self, arguments: Command, context: ToolContext) -> ToolResult:
        self.ran.append(arguments.command)
        if arguments.command == "wait":
            await anyio.sleep_forever()
        if arguments.command == "long":
            return ToolResult("exit status 0, 1.0 s\n" + "x" * 100_000 + "\nthe end")
        failed = arguments.command.startswith("fail")
        return ToolResult(f"exit status {int(failed)}, 0.1 s\nprinted", is_error=failed)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def shell() -> PretendedShell:
    return PretendedShell()


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


async def report(
    place: Path, sink: MemorySink, shell: Tool, script: Script = ("done",), **more: Any
) -> AgentReport:
    """What becomes of one agent in a workspace, with a shell among the tools that there are."""

    @asynccontextmanager
    async def open_() -> AsyncIterator[Tool]:
        yield shell

    info = ModelInfo("fake/model", "fake", local=True, min_output_tokens=16)
    definition = AgentDefinition.model_validate(
        {"name": "worker", "goal": "work", "model": info.name, "tools": SHELL, **more}
    )
    (place / "work").mkdir(exist_ok=True)
    with anyio.fail_after(20):
        return await delegate(
            Task("worker"),
            workspace=place / "work",
            agents=[definition],
            settings=Settings(),
            registry=Registry(
                models={info.name: scripted_model(ScriptedModel(list(script), info=info))},  # type: ignore[arg-type]
                tools={"shell": ToolSpec("shell", "run", open_, needs=("shell.exec",))},
            ),
            sinks=[sink],
            audit=False,
        )


def verdicts(result: AgentReport) -> list[tuple[str, str]]:
    return [(criterion.text, criterion.verdict) for criterion in result.criteria]


async def test_commands_run_after_the_answer_and_say_how_they_ended(
    tmp_path: Path, sink: MemorySink, shell: PretendedShell
) -> None:
    result = await report(tmp_path, sink, shell, verify=["pass", "pass twice"])
    assert shell.ran == ["pass", "pass twice"]
    assert verdicts(result) == [("verify: pass", "met"), ("verify: pass twice", "met")]
    assert result.criteria[0].evidence == "exit status 0, 0.1 s\nprinted"
    assert result.ok


async def test_a_command_that_fails_makes_the_answer_no_success(
    tmp_path: Path, sink: MemorySink, shell: PretendedShell
) -> None:
    result = await report(tmp_path, sink, shell, verify=["fail -q", "pass"])
    assert verdicts(result) == [("verify: fail -q", "not met"), ("verify: pass", "met")]
    assert result.status == "error"
    assert result.error == "had to pass and did not: fail -q"
    assert result.answer == "done"


async def test_what_a_command_shows_outranks_what_the_model_says(
    tmp_path: Path, sink: MemorySink, shell: PretendedShell
) -> None:
    result = await report(
        tmp_path,
        sink,
        shell,
        [f"done\n{MET}"],
        success_criteria=["`fail -q` passes"],
        verify=["fail -q"],
    )
    assert verdicts(result)[0] == ("`fail -q` passes", "not met")
    assert result.criteria[0].evidence.startswith("exit status 1")


async def test_each_command_is_a_recorded_step_with_its_decision(
    tmp_path: Path, sink: MemorySink, shell: PretendedShell
) -> None:
    await report(tmp_path, sink, shell, verify=["pass"])
    steps = [e for e in sink.events if e.fields.get("tool_call_id") == "verify-1"]
    assert [event.kind for event in steps] == ["tool.requested", "tool.decided", "tool.ended"]
    assert steps[1].fields["decision"] == "allow"
    assert steps[2].fields["status"] == "ok"
    kinds = sink.kinds()
    assert (
        kinds.index("model.answered") < kinds.index("tool.requested") < kinds.index("agent.ended")
    )


@pytest.mark.parametrize(
    ("command", "why"), [("other", "not allowed: "), ("odd thing", "'odd' is not understood")]
)
async def test_what_is_not_granted_or_not_understood_is_not_checked(
    tmp_path: Path, sink: MemorySink, shell: PretendedShell, command: str, why: str
) -> None:
    result = await report(tmp_path, sink, shell, verify=[command])
    assert verdicts(result) == [(f"verify: {command}", "not checked")]
    assert result.criteria[0].evidence.startswith(why)
    assert result.ok
    assert shell.ran == []


async def test_without_the_tool_nothing_is_checked_and_the_report_says_what_is_missing(
    tmp_path: Path, sink: MemorySink, shell: PretendedShell
) -> None:
    result = await report(tmp_path, sink, shell, tools={}, verify=["pass"])
    assert verdicts(result) == [("verify: pass", "not checked")]
    assert "needs the tool 'shell'" in result.criteria[0].evidence


async def test_an_agent_that_did_not_answer_is_not_checked(
    tmp_path: Path, sink: MemorySink, shell: PretendedShell
) -> None:
    result = await report(tmp_path, sink, shell, [RuntimeError("broken")], verify=["pass"])
    assert not result.ok
    assert verdicts(result) == [("verify: pass", "not checked")]
    assert result.criteria[0].evidence == "the agent did not answer"
    assert shell.ran == []


async def test_the_deadline_of_the_agent_holds_for_its_commands_too(
    tmp_path: Path, sink: MemorySink, shell: PretendedShell
) -> None:
    result = await report(
        tmp_path, sink, shell, verify=["pass", "wait", "pass"], budget={"seconds": 0.5}
    )
    assert [verdict for _, verdict in verdicts(result)] == ["met", "not checked", "not checked"]
    assert result.criteria[2].evidence == "there was no time left"
    assert result.answer == "done"


async def test_the_evidence_keeps_how_it_ended_and_the_end_of_what_was_printed(
    tmp_path: Path, sink: MemorySink, shell: PretendedShell
) -> None:
    evidence = (await report(tmp_path, sink, shell, verify=["long"])).criteria[0].evidence
    assert evidence.startswith("exit status 0, 1.0 s\n[...]\n")
    assert evidence.endswith("x\nthe end")
    assert len(evidence) < 2_100


def test_a_criterion_that_names_several_commands_is_met_only_if_all_pass() -> None:
    said = (Criterion("a and b pass", "met"), Criterion("it is kind", "met", "read it"))
    checks = (
        Criterion("verify: a", "met", "0"),
        Criterion("verify: b", "not met", "1"),
        Criterion("verify: kind", "not checked", "no time"),
    )
    assert outranked(said, checks) == (
        Criterion("a and b pass", "not met", "1"),
        said[1],
        *checks,
    )

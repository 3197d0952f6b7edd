"""Runs whose agents start programs, held for real where this machine can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_core.agents import AgentDefinition
from sashizu_core.plugins import Registry
from sashizu_core.runtime import delegate
from sashizu_core.settings import Settings
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, call, scripted_model
from sashizu_core.types import AgentReport, ModelInfo, Task
from sashizu_sandbox.plugin import register_sandboxes, register_tools

SANDBOXES = {spec.name: spec for spec in register_sandboxes(Settings())}
HELD = any(spec.probe().kind == "enforced" for spec in SANDBOXES.values())

pytestmark = pytest.mark.skipif(not HELD, reason="nothing enforces on this machine")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "out").mkdir(parents=True)
    (folder / "a.txt").write_text("alpha\n", "utf-8")
    (tmp_path / "secret").write_text("hidden\n", "utf-8")
    return folder


async def report(place: Path, model: ScriptedModel, heard: list[str], **more: Any) -> AgentReport:
    tools = {
        "mcp": ["shell"],
        "fs": {"read": ["."], "write": ["out"]},
        "shell": {"exec": ["cat", "tee", "sh", "true", "false"]},
    }
    definition = AgentDefinition.model_validate(
        {"name": "worker", "goal": "work", "model": model.info.name, "tools": tools, **more}
    )
    with anyio.fail_after(60):
        return await delegate(
            Task("worker"),
            workspace=place,
            agents=[definition],
            settings=Settings(),
            registry=Registry(
                models={model.info.name: scripted_model(model)},
                tools={spec.name: spec for spec in register_tools(Settings())},
                sandboxes=SANDBOXES,
            ),
            sinks=[MemorySink()],
            audit=False,
            on_line=lambda _agent_id, line: heard.append(line),
        )


def model(*commands: str) -> ScriptedModel:
    info = ModelInfo("fake/model", "fake", local=True, min_output_tokens=16)
    return ScriptedModel([*([call("shell", command=c)] for c in commands), "done"], info=info)


def answers(model: ScriptedModel) -> list[str]:
    return [m.content for m in model.requests[-1].messages if m.role == "tool"]


async def test_what_is_granted_runs_and_what_is_not_does_not(place: Path, tmp_path: Path) -> None:
    scripted = model(
        "cat a.txt | tee out/b.txt",
        "cat ../secret",
        "tee a.txt",
        "ls",
        f"sh -c 'cat {tmp_path}/secret; echo evil > a.txt; echo good > out/c.txt'",
    )
    heard: list[str] = []
    await report(place, scripted, heard)
    assert heard[0] == "alpha"
    ran, outside, write, other, code = answers(scripted)
    assert ran.endswith("\nalpha\n")
    assert (place / "out/b.txt").read_text() == "alpha\n"
    assert "lies outside the workspace" in outside
    assert write.startswith("not allowed: ")
    assert other.startswith("not allowed: ")
    assert "hidden" not in code
    assert (place / "a.txt").read_text() == "alpha\n"
    assert (place / "out/c.txt").read_text() == "good\n"
    assert sorted(path.name for path in (place / "out").iterdir()) == ["b.txt", "c.txt"]


async def test_commands_that_have_to_pass_are_held_too(place: Path) -> None:
    result = await report(place, model(), [], verify=["true", "cat a.txt", "false"])
    assert [criterion.verdict for criterion in result.criteria] == ["met", "met", "not met"]
    assert result.criteria[1].evidence.endswith("\nalpha")
    assert result.status == "error"
    assert result.error == "had to pass and did not: false"

"""Steps that write: apart where they may meet, in the shared files where they cannot."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_core import Supervision, supervise
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.plugins import Registry
from sashizu_core.prompt import Brief, read_brief
from sashizu_core.settings import Settings
from sashizu_core.supervisor import PLANNER
from sashizu_core.testing.fakes import Answer, MemorySink, ScriptedModel, call, scripted_model
from sashizu_core.types import ModelInfo, ModelRequest
from sashizu_sandbox import plugin as sandbox


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    (place / "shared.txt").write_text("begin\n", "utf-8")
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "begin"]):
        subprocess.run(["git", *identity, *words], cwd=place, check=True, capture_output=True)
    return place


WRITES = {"mcp": ["write_file", "read_file"], "fs": {"read": True, "write": True}}
NAMES = ("one", "two", "three")


async def run(place: Path, *steps: dict[str, Any]) -> tuple[Supervision, list[Brief], MemorySink]:
    """Every agent writes a file of its own name, then says that it has."""
    asked: list[Brief] = []

    def answer(request: ModelRequest) -> Answer:
        brief = read_brief(request.messages)
        assert brief is not None
        if brief.agent == PLANNER:
            return json.dumps({"steps": list(steps)})
        if any(message.role == "tool" for message in request.messages):
            return f"{brief.agent} has written"
        asked.append(brief)
        return [call("write_file", path=f"{brief.agent}.txt", content="made\n")]

    info = ModelInfo("fake/m", "fake", local=True, min_output_tokens=16)
    sink = MemorySink()
    with anyio.fail_after(60):
        found = await supervise(
            "write",
            agents=NAMES,
            definitions=[
                AgentDefinition.model_validate({"name": name, "goal": "g", "tools": WRITES})
                for name in NAMES
            ],
            workspace=place,
            model="fake/m",
            settings=Settings(),
            registry=Registry(
                models={"fake/m": scripted_model(ScriptedModel(answer, info=info))},
                tools={spec.name: spec for spec in builtin.register_tools(Settings())},
                isolations={spec.name: spec for spec in sandbox.register_isolations(Settings())},
            ),
            sinks=[sink],
            audit=False,
        )
    return found, asked, sink


def step(name: str, agent: str, *after: str) -> dict[str, Any]:
    return {"id": name, "agent": agent, "goal": "write", "after": list(after)}


def isolation(sink: MemorySink) -> dict[str, object]:
    return {
        str(event["agent_name"]): event["attrs"]["isolation"]  # type: ignore[index]
        for event in sink.of("agent.started")
    }


async def test_steps_that_may_meet_write_apart_and_who_follows_is_told_where(
    repository: Path,
) -> None:
    found, asked, sink = await run(
        repository, step("a", "one"), step("b", "two"), step("c", "three", "a", "b")
    )
    assert found.ok, found.run.results
    apart = isolation(sink)
    assert (apart["one"], apart["two"], apart["three"]) == ("worktree", "worktree", "none")
    assert not (repository / "one.txt").exists()
    assert (repository / "three.txt").read_text() == "made\n"
    assert found.run.merge is not None
    assert len(found.run.merge.clean) == 2
    branches = {r.agent: r.changes.branch for r in found.run.results if r.changes is not None}
    told = next(brief.inputs for brief in asked if brief.agent == "three")
    assert f"It changed one.txt on the branch {branches['one']}" in told["answer to step a"]
    assert f"It changed two.txt on the branch {branches['two']}" in told["answer to step b"]


async def test_steps_in_a_row_see_the_files_of_those_before(repository: Path) -> None:
    found, _, sink = await run(
        repository, step("a", "one"), step("b", "two", "a"), step("c", "three", "b")
    )
    assert found.ok
    assert set(isolation(sink).values()) == {"none"}
    assert all((repository / f"{name}.txt").exists() for name in NAMES)
    assert found.run.merge is None

"""Agents that start agents where files are kept apart, and what the record's views say of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_audit.sink import open_sink
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.plugins import Registry
from sashizu_core.protocols import EventSink
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.testing.fakes import MemorySink, Script, ScriptedModel, call, scripted_model
from sashizu_core.types import ModelInfo, ModelRequest, RunReport, Task
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
    (place / "a.txt").write_text("alpha\n", "utf-8")
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-qm", "begin"]):
        subprocess.run(["git", *identity, *words], cwd=place, check=True, capture_output=True)
    return place


TOOLS = {"mcp": ["delegate", "write_file", "read_file"], "fs": {"read": True, "write": True}}

APART = {"isolation": "worktree"}

NARROW = {**TOOLS, "fs": {"read": True, "write": ["below.txt"]}}


def asks(*agents: str) -> list[Any]:
    return [call("delegate", f"c{at}", agent=name, goal="g") for at, name in enumerate(agents)]


def writes(path: str, text: str) -> list[Any]:
    return [call("write_file", path=path, content=text)]


async def run(
    place: Path, sink: EventSink, scripts: dict[str, tuple[Script, dict[str, Any]]]
) -> RunReport:
    models = {name: ModelInfo(f"fake/{name}", "fake", local=True) for name in scripts}
    registry = Registry(
        models={
            info.name: scripted_model(ScriptedModel(scripts[name][0], info=info))
            for name, info in models.items()
        },
        tools={spec.name: spec for spec in builtin.register_tools(Settings())},
        isolations={spec.name: spec for spec in sandbox.register_isolations(Settings())},
    )
    fields = {"goal": "g", "tools": TOOLS, "spawn": {"agents": ["*"]}}
    with anyio.fail_after(60):
        return await delegate_parallel(
            [Task("lead")],
            workspace=place,
            agents=[
                AgentDefinition.model_validate(
                    {"name": name, "model": models[name].name, **fields, **more}
                )
                for name, (_, more) in scripts.items()
            ],
            settings=Settings(),
            registry=registry,
            sinks=[sink],
            audit=False,
        )


async def test_what_an_agent_below_changed_is_kept_with_the_one_that_asked(
    repository: Path,
) -> None:
    def make(request: ModelRequest) -> Any:
        if any(message.role == "tool" for message in request.messages):
            return "made"
        text = "\n".join(message.content for message in request.messages)
        (path,) = set(re.findall(r"\.sashizu/runs/[^\s'\"`,]*notes\.md", text))
        return [
            *writes("below.txt", "by the helper"),
            call("write_file", "x", path=path, content="n"),
        ]

    report = await run(
        repository,
        MemorySink(),
        {
            "lead": (
                [writes("lead.txt", "mine"), asks("helper"), "done"],
                {"isolation": "worktree"},
            ),
            "helper": (make, {"artifacts": ["notes.md"], "tools": NARROW}),
        },
    )
    (lead,) = report.results
    assert lead.ok, (lead.error, [child.error for child in lead.children])
    assert lead.changes is not None
    assert [file.path for file in lead.changes.files] == ["below.txt", "lead.txt"]
    (helper,) = lead.children
    assert helper.changes is None
    assert helper.ok, (helper.error, helper.missing, helper.answer)
    (artifact,) = helper.artifacts
    # What git ignores is brought home before the worktree goes.
    assert (repository / artifact.path).read_text("utf-8") == "n"
    assert not (repository / "below.txt").exists()


async def test_two_below_one_worktree_do_not_change_the_same_file(repository: Path) -> None:
    sink = MemorySink()
    report = await run(
        repository,
        sink,
        {
            "lead": ([asks("one", "two"), "done"], APART),
            "one": ([writes("same.txt", "one"), "done"], {}),
            "two": ([writes("same.txt", "two"), "done"], {}),
        },
    )
    assert report.success_count == 1
    refused = [e for e in sink.of("tool.ended") if e.get("error_type") == "conflict"]
    taken = [e for e in sink.of("tool.ended") if e["tool"] == "write_file" and e["status"] == "ok"]
    # Who comes when the other has ended may overwrite it only if it says what it overwrites.
    assert len(taken) == 1, refused


async def test_an_agent_below_has_a_worktree_of_its_own_where_it_asks_for_one(
    repository: Path,
) -> None:
    report = await run(
        repository,
        MemorySink(),
        {
            "lead": ([asks("apart", "apart"), "done"], {}),
            "apart": ([writes("same.txt", "apart"), "done"], APART),
        },
    )
    (lead,) = report.results
    assert lead.ok
    branches = {child.changes.branch for child in lead.children if child.changes is not None}
    assert len(branches) == 2
    assert not (repository / "same.txt").exists()
    assert report.merge is not None
    assert report.merge.overlaps == ("same.txt",)


async def test_the_view_of_the_record_is_one_tree(repository: Path, tmp_path: Path) -> None:
    from sashizu_audit.settings import AuditSettings
    from sashizu_audit.store import AuditStore

    settings = AuditSettings(dir=str(tmp_path / "record"))
    async with open_sink(settings) as sink:
        report = await run(
            repository,
            sink,
            {
                "lead": ([asks("mid", "mid"), "done"], {}),
                "mid": ([asks("leaf"), "done"], {}),
                "leaf": (["done"], {}),
            },
        )
    assert report.success_count == 1
    query = "select path, level, count(*) from agent_tree group by all order by 2"
    found = await anyio.to_thread.run_sync(AuditStore(settings.folder).query, query)
    assert [tuple(row) for row in found.rows] == [
        ("lead", 0, 1),
        ("lead/mid", 1, 2),
        ("lead/mid/leaf", 2, 2),
    ]

"""Agents that write side by side: each in a worktree, what they made merged by the commands."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.errors import SashizuError
from sashizu_core.plugins import Registry
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.testing.fakes import MemorySink, Script, ScriptedModel, call, scripted_model
from sashizu_core.types import ModelInfo, RunReport, Task
from sashizu_sandbox import plugin as sandbox
from sashizu_sandbox.worktrees.cli import merge_app, worktrees_app
from sashizu_sandbox.worktrees.isolation import why_not
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")


def git(place: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    ran = subprocess.run(
        ["git", *identity, *words], cwd=place, check=True, capture_output=True, text=True
    )
    return ran.stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    (place / "shared.txt").write_text("".join(f"line {n}\n" for n in range(40)), "utf-8")
    git(place, "add", "-A")
    git(place, "commit", "-qm", "begin")
    (place / "mine.txt").write_text("not committed\n", "utf-8")
    return place


WRITES = {"mcp": ["write_file", "read_file", "apply_patch"], "fs": {"read": True, "write": True}}


def patch(old: str, new: str) -> list[Any]:
    text = f"*** Begin Patch\n*** Update File: shared.txt\n@@\n-{old}\n+{new}\n*** End Patch"
    return [call("apply_patch", patch=text)]


async def run(place: Path, sink: MemorySink, **scripts: Script) -> RunReport:
    models = {name: ModelInfo(f"fake/{name}", "fake", local=True) for name in scripts}
    fields = {"goal": "g", "tools": WRITES}
    registry = Registry(
        models={
            info.name: scripted_model(ScriptedModel(scripts[name], info=info))
            for name, info in models.items()
        },
        tools={spec.name: spec for spec in builtin.register_tools(Settings())},
        isolations={spec.name: spec for spec in sandbox.register_isolations(Settings())},
    )
    with anyio.fail_after(60):
        return await delegate_parallel(
            [Task(name) for name in scripts],
            workspace=place,
            agents=[
                AgentDefinition.model_validate({"name": name, "model": models[name].name, **fields})
                for name in scripts
            ],
            settings=Settings(),
            registry=registry,
            sinks=[sink],
            audit=False,
        )


def command(app: Any, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    return result.exit_code, result.output


async def test_agents_side_by_side_write_apart_and_what_fits_is_merged(repository: Path) -> None:
    before = git(repository, "status", "--porcelain")
    sink = MemorySink()
    report = await run(
        repository,
        sink,
        first=[patch("line 3", "line 3 by first"), "done"],
        second=[patch("line 30", "line 30 by second"), "done"],
        third=[[call("read_file", path="mine.txt")], "read"],
    )
    assert report.success_count == 3, report.results
    assert git(repository, "status", "--porcelain") == before
    assert [r.changes is not None for r in report.results] == [True, True, False]
    assert report.merge is not None

    code, said = await anyio.to_thread.run_sync(command, merge_app, "last", "--dry-run")
    assert (code, said.count("fits: ")) == (0, 2)
    assert git(repository, "status", "--porcelain") == before
    code, said = await anyio.to_thread.run_sync(command, merge_app, "last")
    assert (code, said.count("merged: ")) == (0, 2)
    text = (repository / "shared.txt").read_text("utf-8")
    assert "line 3 by first" in text
    assert "line 30 by second" in text
    assert git(repository, "log", "--oneline").count("\n") == 1

    kept = [e["tool"] for e in sink.of("tool.requested") if e["op"] == "keep_changes"]
    assert kept == ["worktree"] * 3
    (started,) = sink.of("run.started")
    assert started["attrs"]["isolation"] == ["worktree"] * 3  # type: ignore[index]


async def test_what_two_agents_changed_differently_is_shown_and_not_half_merged(
    repository: Path,
) -> None:
    report = await run(
        repository,
        MemorySink(),
        first=[patch("line 3", "by first"), "done"],
        second=[
            patch("line 3", "by second"),
            [call("write_file", path="new.txt", content="x")],
            "done",
        ],
    )
    assert report.success_count == 2
    code, said = await anyio.to_thread.run_sync(command, merge_app, "last")
    assert code == 1
    assert "merged: first" in said
    assert "not merged: second" in said
    assert "by first" in (repository / "shared.txt").read_text("utf-8")
    assert not (repository / "new.txt").exists()

    code, said = await anyio.to_thread.run_sync(command, worktrees_app, "list")
    assert "second" in said
    code, said = await anyio.to_thread.run_sync(command, worktrees_app, "clean")
    assert (code, said.splitlines()[0]) == (0, "removed 2 folders")
    left = git(repository, "branch", "--list", "sashizu/*")
    assert "second" in left
    assert "first" not in left


async def test_without_git_the_second_to_write_a_file_hears_who_has_it(tmp_path: Path) -> None:
    place = tmp_path / "plain"
    place.mkdir()
    write = [call("write_file", path="one.txt", content="x")]
    sink = MemorySink()
    report = await run(place, sink, first=[write, "done"], second=[write, "done"])
    assert [r.changes for r in report.results] == [None, None]
    assert (place / "one.txt").read_text("utf-8") == "x"
    ended = sink.of("tool.ended")
    assert sorted(str(e.get("error_type")) for e in ended) == ["None", "conflict"]


async def test_what_agents_write_is_sent_through_no_program_that_git_is_told_of(
    repository: Path, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    for name in ("clean", "smudge"):
        git(repository, "config", f"filter.strip.{name}", f"touch {marks}/{name}; cat")
    git(repository, "config", "filter.strip.required", "true")
    git(repository, "config", "merge.ours.driver", f"touch {marks}/merge; true")
    attributes = repository / ".git" / "info" / "attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("* filter=strip merge=ours\n")
    report = await run(
        repository,
        MemorySink(),
        first=[patch("line 3", "by first"), "done"],
        second=[patch("line 3", "by second"), "done"],
    )
    assert report.success_count == 2, report.results
    assert report.merge is not None
    code, _ = await anyio.to_thread.run_sync(command, merge_app, "last")
    assert code == 1
    assert "by first" in (repository / "shared.txt").read_text("utf-8")
    await anyio.to_thread.run_sync(command, worktrees_app, "clean")
    assert list(marks.iterdir()) == []


async def test_new_files_that_hold_secrets_are_no_part_of_what_agents_begin_with(
    repository: Path,
) -> None:
    (repository / ".env").write_text("TOKEN=secret\n", "utf-8")
    (repository / "sub").mkdir()
    (repository / "sub" / "key.pem").write_text("secret\n", "utf-8")
    (repository / "staged.env").write_text("secret\n", "utf-8")
    git(repository, "add", "staged.env")
    report = await run(
        repository,
        MemorySink(),
        first=[patch("line 3", "by first"), "done"],
        second=["done"],
    )
    changes = report.results[0].changes
    assert changes is not None
    names = git(repository, "ls-tree", "-r", "--name-only", changes.commit).split()
    assert sorted(names) == ["mine.txt", "shared.txt"]
    assert (repository / ".env").read_text("utf-8") == "TOKEN=secret\n"


def test_a_repository_among_the_files_of_a_clone_is_none(repository: Path) -> None:
    inner = repository / "inner"
    (inner / "refs").mkdir(parents=True)
    (inner / "objects").mkdir()
    (inner / "HEAD").write_text("ref: refs/heads/main\n")
    (inner / "config").write_text("[core]\n\tbare = false\n\tworktree = .\n")
    assert "git" in why_not(inner)
    assert why_not(repository) == ""


async def test_a_program_that_a_repository_names_to_bring_objects_is_not_run(
    repository: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    for name, value in {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": "ssh://x/y",
        "protocol.ssh.allow": "always",
        "core.sshCommand": f"touch {mark}; false",
    }.items():
        git(repository, "config", name, value)
    blob = git(repository, "rev-parse", "HEAD:shared.txt").strip()
    (repository / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with suppress(SashizuError):  # whether git misses the object depends on how fresh its index is
        await run(repository, MemorySink(), first=["done"], second=["done"])
    await anyio.to_thread.run_sync(command, worktrees_app, "list")
    assert not mark.exists()

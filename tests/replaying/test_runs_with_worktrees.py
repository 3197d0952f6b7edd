"""Agents with a worktree of their own: replayed without it, gone on with in it, forked."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.control import RunHandle
from sashizu_core.errors import SashizuError
from sashizu_core.grants import PathRequest, PermissionRequest, Subject
from sashizu_core.ids import new_run_id
from sashizu_core.protocols import Tool, ToolContext
from sashizu_core.settings import Settings
from sashizu_core.specs import PolicySpec, ToolSpec
from sashizu_core.testing.fakes import call
from sashizu_core.types import Decision, ModelRequest, Outcome, StepKind, ToolResult
from sashizu_sandbox import plugin as sandbox
from sashizu_sandbox.worktrees.git import Git
from sashizu_sandbox.worktrees.isolation import open_worktrees
from sashizu_sandbox.worktrees.manifest import Manifest, load_manifest, worktrees_home

WRITES: Mapping[str, Any] = {
    "tools": {"mcp": ["read_file", "write_file"], "fs": {"read": True, "write": True}},
    "isolation": "worktree",
}


def git(place: Path, *words: str) -> str:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    ran = subprocess.run(
        ["git", *identity, *words], cwd=place, check=True, capture_output=True, text=True
    )
    return ran.stdout


@pytest.fixture
def repository(world: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    place: Path = world.place
    git(place, "init", "-q", "-b", "main")
    git(place, "add", "-A")
    git(place, "commit", "-qm", "begin")
    world.offered["isolations"] = {
        spec.name: spec for spec in sandbox.register_isolations(Settings())
    }
    return place


def turns(*answers: Any) -> Any:
    def answer(request: ModelRequest) -> Any:
        given = answers[sum(message.role == "assistant" for message in request.messages)]
        return given() if callable(given) else given

    return answer


def writes(path: str, text: str) -> list[Any]:
    return [call("write_file", f"w-{path}", path=path, content=text)]


def reads(path: str) -> list[Any]:
    return [call("read_file", f"r-{path}", path=path)]


def told(model: Any) -> list[str]:
    return [message.content for message in model.requests[-1].messages if message.role == "tool"]


async def test_a_run_with_worktrees_is_replayed_without_them(world: Any, repository: Path) -> None:
    world.agent("worker", turns(writes("new.txt", "new"), "done"), **WRITES)
    report = await world.run("worker")
    assert report.results[0].changes is not None
    shutil.rmtree(worktrees_home())
    found = await world.replay(report.run_id)
    assert found.differences == ()


async def test_an_interrupted_agent_goes_on_in_its_worktree(world: Any, repository: Path) -> None:
    def crash() -> Any:
        world.cut_off()
        return reads("new.txt")

    model = world.agent("worker", turns(writes("new.txt", "of then"), crash, "done"), **WRITES)
    report = await world.run("worker")
    (entry,) = load_manifest(report.run_id).agents
    (entry.folder / "beside.txt").write_text("written by a program\n", "utf-8")
    found = await world.resume(report.run_id)
    (result,) = found.report.results
    assert result.ok, result.error
    assert "of then" in told(model)[-1]
    assert result.changes is not None
    assert [file.path for file in result.changes.files] == ["beside.txt", "new.txt"]
    assert load_manifest(report.run_id).agents == []
    (taken,) = load_manifest(found.run_id).agents
    assert (taken.was, taken.state) == ((entry.agent_id,), "changed")
    assert found.report.merge is not None
    assert len(found.report.merge.clean) == 1
    assert (await world.replay(found.run_id)).differences == ()


async def test_an_agent_that_somebody_stopped_goes_on_in_its_worktree(
    world: Any, repository: Path
) -> None:
    handles: list[RunHandle] = []

    def stop() -> Any:
        handles[0].cancel("enough")
        return reads("new.txt")

    script = turns(writes("new.txt", "of then"), stop, writes("more.txt", "more"), "done")
    world.agent("worker", script, **WRITES)
    report = await world.run("worker", on_start=handles.append)
    assert report.results[0].outcome is Outcome.CANCELLED
    found = await world.resume(report.run_id, crashed=False)
    (result,) = found.report.results
    assert result.changes is not None, result.error
    assert [file.path for file in result.changes.files] == ["more.txt", "new.txt"]


async def test_an_agent_whose_worktree_is_gone_is_not_gone_on_with(
    world: Any, repository: Path
) -> None:
    def crash() -> Any:
        world.cut_off()
        return "done"

    world.agent("worker", turns(writes("new.txt", "new"), crash), **WRITES)
    report = await world.run("worker")
    (entry,) = load_manifest(report.run_id).agents
    shutil.rmtree(entry.folder)
    with pytest.raises(SashizuError, match=r"unsupported: .* its folder .* is gone"):
        await world.resume(report.run_id)


async def test_agents_beneath_an_interrupted_one_go_on_in_its_worktree(
    world: Any, repository: Path
) -> None:
    def crash() -> Any:
        world.cut_off()
        return reads("new.txt")

    names = ["delegate", "read_file", "write_file"]
    spawns = {
        "tools": {"mcp": names, "fs": {"read": True, "write": True}},
        "spawn": {"agents": ["*"]},
        "isolation": "worktree",
    }
    asks = [call("delegate", "d", agent="helper", goal="help")]
    world.agent("lead", turns(asks, "all done"), **spawns)
    tools = {"tools": WRITES["tools"]}
    helper = world.agent("helper", turns(writes("new.txt", "of then"), crash, "helped"), **tools)
    report = await world.run("lead")
    found = await world.resume(report.run_id)
    (result,) = found.report.results
    assert result.ok, result.error
    assert "of then" in told(helper)[-1]
    assert result.changes is not None
    assert [file.path for file in result.changes.files] == ["new.txt"]
    assert (await world.replay(found.run_id)).differences == ()


# --- fork -----------------------------------------------------------------------------------------


class RunsProgram(TypedTool[Arguments]):
    """Writes a file that it does not name."""

    name = "program"
    description = "Runs something."
    arguments = Arguments
    kind = StepKind.EFFECT

    def requests(self, arguments: Arguments, context: ToolContext) -> Sequence[PermissionRequest]:
        return []

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        context.workspace.write_bytes("made.txt", b"made")
        return ToolResult("made")


@pytest.fixture
def program(world: Any) -> None:
    @asynccontextmanager
    async def open_() -> AsyncIterator[Tool]:
        yield RunsProgram()

    world.tools["program"] = ToolSpec("program", "runs", open_)


PROGRAMS: Mapping[str, Any] = {
    "tools": {"mcp": ["read_file", "write_file", "program"], "fs": {"read": True, "write": True}},
    "isolation": "worktree",
}


async def test_a_fork_has_what_the_agent_wrote_until_its_step(world: Any, repository: Path) -> None:
    script = turns(writes("one.txt", "1"), writes("two.txt", "2"), reads("one.txt"), "done")
    model = world.agent("worker", script, **WRITES)
    report = await world.run("worker")
    (repository / "a.txt").write_text("another\n", "utf-8")
    found = await world.fork(report.run_id, at=3)  # the second writing
    (result,) = found.report.results
    assert result.ok, result.error
    assert found.lacks == ()
    assert "lines 1-1" in told(model)[-1]
    assert result.changes is not None
    assert [file.path for file in result.changes.files] == ["one.txt", "two.txt"]
    assert git(repository, "show", f"{result.changes.commit}:a.txt") == "alpha\n"
    (old,) = load_manifest(report.run_id).agents
    assert old.folder.is_dir()
    assert (await world.replay(found.run_id)).differences == ()


async def test_a_fork_says_what_a_program_may_have_written(
    world: Any, repository: Path, program: None
) -> None:
    script = turns([call("program", "p")], writes("two.txt", "2"), "done")
    world.agent("worker", script, **PROGRAMS)
    report = await world.run("worker")
    found = await world.fork(report.run_id, at=2)
    (lack,) = found.lacks
    assert "lacks what 'program' did in step 1 of 'worker'" in lack
    assert found.report.results[0].changes is not None
    assert [file.path for file in found.report.results[0].changes.files] == ["two.txt"]


async def test_a_fork_after_the_last_change_has_all_files(
    world: Any, repository: Path, program: None
) -> None:
    script = turns([call("program", "p")], reads("made.txt"), "done")
    model = world.agent("worker", script, **PROGRAMS)
    report = await world.run("worker")
    found = await world.fork(report.run_id, at=3)
    assert found.lacks == ()
    assert "made" in told(model)[-1]
    assert found.report.results[0].changes is not None


async def test_a_fork_whose_worktree_is_forgotten_says_so(world: Any, repository: Path) -> None:
    world.agent("worker", turns(writes("one.txt", "1"), reads("one.txt"), "done"), **WRITES)
    report = await world.run("worker")
    shutil.rmtree(worktrees_home())
    git(repository, "worktree", "prune")
    found = await world.fork(report.run_id, at=2)
    assert found.report.results[0].ok, found.report.results[0].error
    (lack,) = found.lacks
    assert "its files are those of today" in lack


class DeniesWriting:
    """A policy of today."""

    def check(self, request: PermissionRequest, subject: Subject) -> Decision | None:
        if isinstance(request, PathRequest) and request.access == "write":
            return Decision("deny", "nothing is written by now")
        return None


@asynccontextmanager
async def open_policy() -> AsyncIterator[DeniesWriting]:
    yield DeniesWriting()


RULES: Mapping[str, Mapping[str, str]] = {
    "asked": {"verdict": "ask", "touches": "write", "pattern": "*"},
    "tool": {"verdict": "deny", "touches": "tool", "pattern": "write_file"},
}


@pytest.mark.parametrize("by", ["asked", "tool", "policy"])
async def test_a_fork_writes_nothing_again_that_is_not_allowed_by_now(
    world: Any, repository: Path, by: str
) -> None:
    script = turns(writes("one.txt", "1"), writes("two.txt", "2"), "done")
    world.agent("worker", script, **WRITES)
    report = await world.run("worker")
    if by == "policy":
        world.offered["policies"] = {"denies": PolicySpec("denies", "writing", open_policy)}
    else:
        world.settings["policy"] = {"rule": [RULES[by]]}
    found = await world.fork(report.run_id, at=3)
    (lack,) = found.lacks
    assert "step 1" in lack
    assert "allowed" in lack
    (entry,) = load_manifest(found.run_id).agents
    assert not (entry.folder / "one.txt").exists()


@pytest.mark.parametrize("killed_at", ["move", "update-ref", "", "save"])
async def test_a_worktree_is_taken_up_wherever_the_one_before_was_killed_over_it(
    repository: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    ids = [new_run_id() for _ in range(3)]
    async with open_worktrees(repository, ids[0]) as first:
        tree = await first.separate("worker", "one")
        (tree.root / "new.txt").write_text("of then", "utf-8")
        assert await tree.conclude() is not None
    async with open_worktrees(repository, ids[1]) as second:
        with monkeypatch.context() as patch:
            patch.setattr(Git, "run", killing(killed_at))
            patch.setattr(Manifest, "save", saving(ids[0], killed_at))
            with pytest.raises(Killed):
                await second.take_up("worker", "two", "one")
    async with open_worktrees(repository, ids[2]) as third:
        tree = await third.take_up("worker", "three", "one")
        (tree.root / "more.txt").write_text("more", "utf-8")
        changes = await tree.conclude()
        assert changes is not None
        assert [file.path for file in changes.files] == ["more.txt", "new.txt"]
        plan = await third.merge_plan()
        assert plan is not None
        assert len(plan.clean) == 1


class Killed(BaseException):
    """Nothing after it is done."""


def killing(word: str) -> Any:
    """Ends before a command of git; after the last one if it is empty."""
    run = Git.run

    async def killed(self: Git, *words: str, **options: Any) -> bytes:
        if words[0] == word or words[:2] == ("worktree", word):
            raise Killed
        printed = await run(self, *words, **options)
        if not word and words[0] == "update-ref":
            raise Killed
        return printed

    return killed


def saving(run_id: str, killed_at: str) -> Any:
    save = Manifest.save

    def killed(self: Manifest) -> None:
        if killed_at == "save" and self.run_id == run_id:
            raise Killed
        save(self)

    return killed


async def test_a_run_that_changed_many_files_is_replayed_as_it_was(
    world: Any, repository: Path, program: None
) -> None:
    def many() -> Any:
        (entry,) = load_manifest("last").agents
        for number in range(400):
            (entry.folder / f"{number:03}-{'n' * 200}").touch()
        return "done"

    world.agent("worker", turns([call("program", "p")], many), **PROGRAMS)
    report = await world.run("worker")
    assert report.results[0].changes is not None
    assert len(report.results[0].changes.files) == 401
    assert (await world.replay(report.run_id)).differences == ()

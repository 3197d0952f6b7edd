"""Worktrees against a real git: what is kept, what is merged, and what is left alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sashizu_core.errors import SashizuError, UsageError
from sashizu_sandbox.worktrees.applying import apply_merged
from sashizu_sandbox.worktrees.cleaning import clean_run
from sashizu_sandbox.worktrees.git import repository_of
from sashizu_sandbox.worktrees.isolation import Worktrees, open_worktrees, why_not
from sashizu_sandbox.worktrees.manifest import load_manifest, manifests
from sashizu_sandbox.worktrees.merge import merge_changes

RUN = "0190-run"


def git(folder: Path, *words: str) -> str:
    ended = subprocess.run(
        ["git", "-c", "user.name=T", "-c", "user.email=t@localhost", *words],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return ended.stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    (folder / "a.txt").write_text("one\ntwo\nthree\nfour\nfive\n")
    (folder / "b.txt").write_text("b\n")
    (folder / ".gitignore").write_text("*.log\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


@pytest.fixture
async def worktrees(repository: Path) -> AsyncIterator[Worktrees]:
    async with open_worktrees(repository, RUN) as opened:
        yield opened


def state_of(folder: Path) -> tuple[str, bytes, str]:
    """What must not change: branch and commit, the index, what git says of the files."""
    index = (folder / ".git" / "index").read_bytes()
    return git(folder, "log", "--format=%H %D", "-1", "HEAD"), index, git(folder, "stash", "list")


async def test_an_agent_works_in_a_copy_of_what_the_user_sees(
    repository: Path, worktrees: Worktrees
) -> None:
    (repository / "a.txt").write_text("changed\n")
    (repository / "new.txt").write_text("new\n")
    (repository / "staged.txt").write_text("staged\n")
    git(repository, "add", "staged.txt")
    (repository / "b.txt").unlink()
    (repository / "noise.log").write_text("ignored\n")
    before = state_of(repository)

    worktree = await worktrees.separate("writer", "id-1")

    assert (worktree.root / "a.txt").read_text() == "changed\n"
    assert (worktree.root / "new.txt").read_text() == "new\n"
    assert (worktree.root / "staged.txt").read_text() == "staged\n"
    assert not (worktree.root / "b.txt").exists()
    assert not (worktree.root / "noise.log").exists()
    assert state_of(repository) == before
    assert git(repository, "status", "--short").splitlines() == [
        " M a.txt",
        " D b.txt",
        "A  staged.txt",
        "?? new.txt",
    ]


async def test_what_an_agent_changed_is_a_commit_on_its_branch(
    repository: Path, worktrees: Worktrees
) -> None:
    worktree = await worktrees.separate("writer", "id-1")
    (worktree.root / "a.txt").write_text("rewritten\n")
    (worktree.root / "c.txt").write_text("c\n")
    (worktree.root / "b.txt").unlink()

    changes = await worktree.conclude()

    assert changes is not None
    assert [(file.path, file.change) for file in changes.files] == [
        ("a.txt", "modified"),
        ("b.txt", "deleted"),
        ("c.txt", "added"),
    ]
    assert git(repository, "show", f"{changes.branch}:c.txt") == "c\n"
    assert git(repository, "status", "--short") == ""
    assert (repository / "a.txt").read_text().startswith("one")


async def test_an_agent_that_changed_nothing_leaves_nothing(
    repository: Path, worktrees: Worktrees
) -> None:
    worktree = await worktrees.separate("reader", "id-1")
    (worktree.root / "__pycache__").mkdir()
    (worktree.root / "__pycache__" / "x.log").write_text("")

    assert await worktree.conclude() is None

    assert not worktree.root.exists()
    assert "sashizu/" not in git(repository, "branch", "--list")
    assert git(repository, "worktree", "list").count("\n") == 1


async def test_ignored_files_of_an_agent_are_not_thrown_away(worktrees: Worktrees) -> None:
    worktree = await worktrees.separate("builder", "id-1")
    (worktree.root / "build.log").write_text("long work")

    assert await worktree.conclude() is None

    assert (worktree.root / "build.log").read_text() == "long work"
    done = await clean_run(load_manifest(RUN), everything=False)
    assert done.removed == 0
    assert "build.log" in done.kept[0].why
    assert (worktree.root / "build.log").exists()


async def test_two_instances_of_one_agent_have_two_folders(worktrees: Worktrees) -> None:
    one = await worktrees.separate("writer", "id-1")
    two = await worktrees.separate("writer", "id-2")

    assert one.root != two.root
    assert one.branch != two.branch


async def test_a_workspace_below_the_top_of_the_repository_is_found_in_the_worktree(
    repository: Path,
) -> None:
    inside = repository / "src" / "deep"
    inside.mkdir(parents=True)
    (inside / "m.py").write_text("x = 1\n")

    async with open_worktrees(inside, RUN) as worktrees:
        worktree = await worktrees.separate("writer", "id-1")

        assert (worktree.root / "m.py").read_text() == "x = 1\n"


async def test_a_workspace_that_git_ignores_is_refused(repository: Path) -> None:
    ignored = repository / "x.log"
    ignored.mkdir()
    (ignored / "f").write_text("f")

    async with open_worktrees(ignored, RUN) as worktrees:
        with pytest.raises(UsageError, match="ignored by git"):
            await worktrees.separate("writer", "id-1")


async def test_a_repository_without_a_commit_has_worktrees_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "state"))
    folder = tmp_path / "empty"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / "first.txt").write_text("first\n")

    async with open_worktrees(folder, RUN) as worktrees:
        worktree = await worktrees.separate("writer", "id-1")

        assert (worktree.root / "first.txt").read_text() == "first\n"


def test_a_folder_that_is_no_repository_says_so(tmp_path: Path) -> None:
    assert "no git working tree" in why_not(tmp_path)


# --- hostile contents -----------------------------------------------------------------------------


async def test_no_hook_of_the_repository_runs(repository: Path, worktrees: Worktrees) -> None:
    for name in ("post-checkout", "pre-commit", "post-index-change", "reference-transaction"):
        hook = repository / ".git" / "hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {repository.parent}/ran\n")
        hook.chmod(0o755)
    git(repository, "config", "core.fsmonitor", f"touch {repository.parent}/ran; false")

    worktree = await worktrees.separate("writer", "id-1")
    (worktree.root / "a.txt").write_text("x\n")
    await worktree.conclude()

    assert not (repository.parent / "ran").exists()


async def test_a_repository_made_inside_a_worktree_runs_nothing_and_is_left_out(
    repository: Path, worktrees: Worktrees
) -> None:
    worktree = await worktrees.separate("writer", "id-1")
    inner = worktree.root / "inner"
    inner.mkdir()
    git(inner, "init", "--quiet")
    (inner / "f").write_text("f")
    git(inner, "add", ".")
    git(inner, "commit", "--quiet", "-m", "inner")
    git(inner, "config", "core.fsmonitor", f"touch {repository.parent}/ran; false")
    (worktree.root / "a.txt").write_text("x\n")

    changes = await worktree.conclude()

    assert changes is not None
    assert changes.left_out == ("inner",)
    assert [file.path for file in changes.files] == ["a.txt"]
    assert not (repository.parent / "ran").exists()
    assert (inner / "f").exists()


async def test_a_known_folder_that_became_a_repository_does_not_look_deleted(
    repository: Path,
) -> None:
    (repository / "src").mkdir()
    (repository / "src" / "m.py").write_text("x = 1\n")
    async with open_worktrees(repository, RUN) as worktrees:
        worktree = await worktrees.separate("writer", "id-1")
        git(worktree.root / "src", "init", "--quiet")
        git(worktree.root / "src", "add", ".")
        git(worktree.root / "src", "commit", "--quiet", "-m", "inner")
        (worktree.root / "a.txt").write_text("x\n")

        changes = await worktree.conclude()

    assert changes is not None
    assert [file.path for file in changes.files] == ["a.txt"]


async def test_a_worktree_whose_link_was_bent_is_still_that_of_its_repository(
    repository: Path, worktrees: Worktrees, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "--quiet")
    worktree = await worktrees.separate("writer", "id-1")
    (worktree.root / ".git").write_text(f"gitdir: {other}/.git\n")
    (worktree.root / "a.txt").write_text("x\n")

    changes = await worktree.conclude()

    assert changes is not None
    assert git(repository, "show", f"{changes.commit}:a.txt") == "x\n"
    assert git(other, "count-objects").startswith("0 objects")


# --- merging --------------------------------------------------------------------------------------


async def concluded(worktrees: Worktrees, agent: str, **files: str) -> None:
    worktree = await worktrees.separate(agent, f"id-{agent}")
    for name, text in files.items():
        (worktree.root / f"{name}.txt").write_text(text)
    await worktree.conclude()


async def merge(repository: Path) -> tuple[list[str], list[str]]:
    manifest = load_manifest(RUN)
    found = await repository_of(repository)
    entries = [entry for entry in manifest.agents if entry.state == "changed"]
    merged = await merge_changes(found, manifest, entries)
    await apply_merged(found, manifest, merged)
    return [e.agent for e in merged.clean], [r.entry.agent for r in merged.rejected]


async def test_changes_of_several_agents_to_one_file_are_merged(
    repository: Path, worktrees: Worktrees
) -> None:
    await concluded(worktrees, "top", a="ONE\ntwo\nthree\nfour\nfive\n")
    await concluded(worktrees, "bottom", a="one\ntwo\nthree\nfour\nFIVE\n", c="c\n")

    assert await merge(repository) == (["top", "bottom"], [])

    assert (repository / "a.txt").read_text() == "ONE\ntwo\nthree\nfour\nFIVE\n"
    assert (repository / "c.txt").read_text() == "c\n"


async def test_of_an_agent_in_conflict_nothing_is_merged(
    repository: Path, worktrees: Worktrees
) -> None:
    await concluded(worktrees, "first", a="ONE\ntwo\nthree\nfour\nfive\n")
    await concluded(worktrees, "second", a="EINS\ntwo\nthree\nfour\nfive\n", c="c\n")

    plan = await worktrees.merge_plan()

    assert plan is not None
    assert plan.overlaps == ("a.txt",)
    assert [(c.agent, c.paths) for c in plan.conflicts] == [("second", ("a.txt",))]
    assert await merge(repository) == (["first"], ["second"])
    assert (repository / "a.txt").read_text().startswith("ONE\n")
    assert not (repository / "c.txt").exists()


async def test_what_the_user_changed_meanwhile_is_kept(
    repository: Path, worktrees: Worktrees
) -> None:
    (repository / "a.txt").write_text("one\ntwo, begun\nthree\nfour\nfive\n")
    await concluded(worktrees, "writer", a="one\ntwo, begun\nthree\nfour\nFIVE\n")
    (repository / "a.txt").write_text("one\ntwo, done\nthree\nfour\nfive\n")
    git(repository, "add", "a.txt")
    before = state_of(repository)

    assert await merge(repository) == (["writer"], [])

    assert (repository / "a.txt").read_text() == "one\ntwo, done\nthree\nfour\nFIVE\n"
    assert state_of(repository) == before


async def test_merging_survives_commits_and_another_branch(
    repository: Path, worktrees: Worktrees
) -> None:
    await concluded(worktrees, "writer", c="c\n")
    git(repository, "checkout", "--quiet", "-b", "elsewhere")
    (repository / "b.txt").write_text("b, further\n")
    git(repository, "commit", "--quiet", "-am", "further")

    assert await merge(repository) == (["writer"], [])

    assert (repository / "c.txt").read_text() == "c\n"
    assert (repository / "b.txt").read_text() == "b, further\n"


async def test_a_file_that_changes_while_merging_stops_it_before_the_first_write(
    repository: Path, worktrees: Worktrees
) -> None:
    await concluded(worktrees, "writer", a="ONE\ntwo\nthree\nfour\nfive\n", c="c\n")
    manifest = load_manifest(RUN)
    found = await repository_of(repository)
    merged = await merge_changes(found, manifest, manifest.agents)
    (repository / "a.txt").write_text("something else\n")

    with pytest.raises(UsageError, match="nothing was written"):
        await apply_merged(found, manifest, merged)

    assert (repository / "a.txt").read_text() == "something else\n"
    assert not (repository / "c.txt").exists()
    assert load_manifest(RUN).agents[0].state == "changed"


async def test_binary_files_modes_and_odd_names_are_merged(
    repository: Path, worktrees: Worktrees
) -> None:
    worktree = await worktrees.separate("writer", "id-1")
    data = bytes(range(256)) * 10
    (worktree.root / "bin").write_bytes(data)
    (worktree.root / "bin").chmod(0o755)
    (worktree.root / 'a "b"\tc.txt').write_text("x")
    (worktree.root / "日本.txt").write_text("x")
    await worktree.conclude()

    assert await merge(repository) == (["writer"], [])

    assert (repository / "bin").read_bytes() == data
    assert os.access(repository / "bin", os.X_OK)
    assert (repository / 'a "b"\tc.txt').read_text() == "x"
    assert (repository / "日本.txt").read_text() == "x"


async def test_a_deleted_file_that_another_changed_is_a_conflict(
    repository: Path, worktrees: Worktrees
) -> None:
    worktree = await worktrees.separate("remover", "id-1")
    (worktree.root / "a.txt").unlink()
    await worktree.conclude()
    await concluded(worktrees, "changer", a="one\ntwo\nthree\nfour\nFIVE\n")

    assert await merge(repository) == (["remover"], ["changer"])

    assert not (repository / "a.txt").exists()


# --- the end --------------------------------------------------------------------------------------


async def test_cleaning_removes_what_is_merged_and_keeps_branches_that_are_not(
    repository: Path, worktrees: Worktrees
) -> None:
    await concluded(worktrees, "first", a="ONE\ntwo\nthree\nfour\nfive\n")
    await concluded(worktrees, "second", a="EINS\ntwo\nthree\nfour\nfive\n")
    await merge(repository)

    done = await clean_run(load_manifest(RUN), everything=False)

    assert done.removed == 2
    assert [kept.what for kept in done.kept] == [f"branch sashizu/{RUN}/second"]
    assert git(repository, "branch", "--list", "sashizu/*").split() == [f"sashizu/{RUN}/second"]
    assert git(repository, "worktree", "list").count("\n") == 1


async def test_the_work_of_an_interrupted_agent_becomes_a_commit_before_its_folder_goes(
    repository: Path, worktrees: Worktrees
) -> None:
    worktree = await worktrees.separate("writer", "id-1")
    (worktree.root / "c.txt").write_text("half done\n")

    await clean_run(load_manifest(RUN), everything=False)

    assert not worktree.root.exists()
    assert git(repository, "show", f"{worktree.branch}:c.txt") == "half done\n"


async def test_a_run_is_found_by_the_beginning_of_its_id(worktrees: Worktrees) -> None:
    await worktrees.separate("writer", "id-1")

    assert load_manifest("0190").run_id == RUN
    assert [manifest.run_id for manifest in manifests()] == [RUN]
    with pytest.raises(UsageError, match="known: 0190-run"):
        load_manifest("0191")


async def test_a_branch_of_that_name_stops_before_anything_is_made(
    repository: Path, worktrees: Worktrees
) -> None:
    git(repository, "branch", f"sashizu/{RUN}/writer")

    with pytest.raises(SashizuError, match="already exists"):
        await worktrees.separate("writer", "id-1")

    assert git(repository, "worktree", "list").count("\n") == 1

"""Removes the worktrees of runs that have ended; commits that nobody merged stay."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

import anyio.to_thread
from sashizu_core.errors import SashizuError, UsageError

from sashizu_sandbox.worktrees.git import Git, repository_of
from sashizu_sandbox.worktrees.keeping import keep, remove_folder
from sashizu_sandbox.worktrees.manifest import AgentEntry, Manifest

__all__ = ["Cleaned", "Kept", "clean_run"]


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that was not removed, and why."""

    what: str
    why: str


@dataclass(slots=True)
class Cleaned:
    """How many folders were removed, and what was kept."""

    removed: int = 0
    kept: list[Kept] = field(default_factory=list)


async def clean_run(manifest: Manifest, everything: bool) -> Cleaned:
    """Clean up after one run. `everything` also removes files that are in no commit."""
    done = Cleaned()
    try:
        git = await repository_of(manifest.workspace)
    except UsageError as error:
        if not everything:
            done.kept.append(Kept(str(manifest.folder), f"its repository is gone ({error})"))
            return done
        await anyio.to_thread.run_sync(shutil.rmtree, manifest.folder)
        done.removed += len(manifest.agents)
        return done
    for entry in manifest.agents:
        try:
            await _clean_entry(git, manifest, entry, everything, done)
        except SashizuError as error:
            done.kept.append(Kept(str(entry.folder), str(error)))
        manifest.save()
    if all(entry.state == "removed" for entry in manifest.agents):
        await anyio.to_thread.run_sync(shutil.rmtree, manifest.folder)
    return done


async def _clean_entry(
    git: Git, manifest: Manifest, entry: AgentEntry, everything: bool, done: Cleaned
) -> None:
    if entry.state == "working" and entry.folder.is_dir():
        await keep(git, manifest, entry)  # an interrupted run: what it did becomes a commit first
    if entry.left_out and not everything and entry.folder.is_dir():
        files = ", ".join(entry.left_out[:3])
        done.kept.append(Kept(str(entry.folder), f"it holds what no commit has ({files}); --all"))
        return
    if entry.folder.is_dir():
        await remove_folder(git, entry)
        done.removed += 1
    if entry.state == "changed":
        done.kept.append(Kept(f"branch {entry.branch}", "it is not merged"))
        return
    if entry.state != "removed" and await git.object(f"refs/heads/{entry.branch}"):
        await git.run("branch", "--quiet", "-D", entry.branch)
    entry.state = "removed"

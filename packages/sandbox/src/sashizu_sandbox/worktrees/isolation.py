"""One worktree and one branch for each agent instance of a run."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.types import Changes, MergePlan

from sashizu_sandbox.worktrees.git import Git, GitFailed, repository_of
from sashizu_sandbox.worktrees.keeping import keep
from sashizu_sandbox.worktrees.manifest import AgentEntry, Manifest
from sashizu_sandbox.worktrees.merge import plan_merge
from sashizu_sandbox.worktrees.moving import existing, free_folder, known_entry, moved_here
from sashizu_sandbox.worktrees.snapshot import snapshot

__all__ = ["Worktree", "Worktrees", "open_worktrees", "why_not"]


class Worktree:
    """The worktree of one agent instance. See `sashizu_core.isolation.IsolatedFolder`."""

    def __init__(self, worktrees: Worktrees, entry: AgentEntry, inside: Path) -> None:
        self._worktrees = worktrees
        self._entry = entry
        self.root = entry.folder / inside
        self.branch = entry.branch
        # The store has all that the repository ever held, not the folder of the workspace alone.
        self.readable = (worktrees.git.common,) if inside == Path() else ()

    async def conclude(self) -> Changes | None:
        return await self._worktrees.conclude(self._entry)


class Worktrees:
    """The worktrees of one run. See `sashizu_core.isolation.Isolation`."""

    def __init__(self, git: Git, workspace: Path, run_id: str) -> None:
        self.git = git
        self._inside = workspace.relative_to(git.folder)
        self._manifest = Manifest(run_id=run_id, workspace=workspace, base="", pid=os.getpid())
        self._lock = anyio.Lock()  # git itself refuses to make two at once

    async def separate(self, agent: str, agent_id: str) -> Worktree:
        async with self._lock:
            if not self._manifest.base:
                message = f"The files as run {self._manifest.run_id} found them"
                self._manifest.base = await snapshot(self.git, message)
            entry = await self._add(agent, agent_id)
            worktree = Worktree(self, entry, self._inside)
            if not await anyio.to_thread.run_sync(worktree.root.is_dir):
                raise UsageError(
                    f"{str(self._inside)!r} is ignored by git, so a worktree does not have it: "
                    "say --isolation none"
                )
            return worktree

    async def take_up(self, agent: str, agent_id: str, earlier_id: str) -> Worktree:
        """See `sashizu_core.isolation.LastingIsolation`."""
        async with self._lock:
            before = await anyio.to_thread.run_sync(known_entry, earlier_id)
            entry = await moved_here(self.git, self._manifest, before, agent, agent_id)
            if entry is None:  # nothing had changed, so it was removed
                old, _ = before
                entry = await self._add(agent, agent_id, await existing(self.git, old.base))
            return Worktree(self, entry, self._inside)

    async def beside(
        self, agent: str, agent_id: str, earlier_id: str, *, as_it_ended: bool
    ) -> Worktree:
        """See `sashizu_core.isolation.LastingIsolation`."""
        async with self._lock:
            old, before = await anyio.to_thread.run_sync(known_entry, earlier_id)
            base = await existing(self.git, old.base_of(before))
            entry = await self._add(agent, agent_id, base)
            if as_it_ended and before.commit:
                there = self.git.at(entry.folder, entry.git_folder)
                await there.run("read-tree", "--reset", "-u", before.commit)
            return Worktree(self, entry, self._inside)

    async def _add(self, agent: str, agent_id: str, base: str = "") -> AgentEntry:
        """Make a worktree of a commit: of that which the run found, or of another `base`."""
        manifest, at = self._manifest, base or self._manifest.base
        folder = free_folder(manifest, agent)
        branch = f"sashizu/{manifest.run_id}/{folder.name}"
        manifest.save()  # first the note, then what it speaks of
        await self.git.run("worktree", "add", "--quiet", "-b", branch, str(folder), at)
        top, git_folder, head = await _where(self.git, folder)
        if top != await anyio.to_thread.run_sync(os.path.realpath, folder) or head != at:
            raise SashizuError(f"git made no worktree in {str(folder)!r}, but in {top!r}")
        entry = AgentEntry(
            agent=agent,
            agent_id=agent_id,
            folder=folder,
            git_folder=git_folder,
            branch=branch,
            base=base,
        )
        manifest.agents.append(entry)
        manifest.save()
        return entry

    async def conclude(self, entry: AgentEntry) -> Changes | None:
        async with self._lock:
            changes = await keep(self.git, self._manifest, entry)
            self._manifest.save()
        return changes

    async def merge_plan(self) -> MergePlan | None:
        async with self._lock:
            return await plan_merge(self.git, self._manifest)


async def _where(git: Git, folder: Path) -> tuple[str, Path, str]:
    """What git itself says of a folder: its top, its git folder, its commit."""
    there = Git(git.program, folder, git.common)
    printed = await there.line(
        "rev-parse", "--path-format=absolute", "--show-toplevel", "--git-dir", "HEAD"
    )
    top, git_folder, head = printed.split("\n")
    return top, Path(git_folder), head


def why_not(workspace: Path) -> str:
    """Why a workspace can have no worktrees; empty if it can. Blocks."""

    async def look() -> str:
        try:
            await repository_of(workspace)
        except (UsageError, GitFailed) as error:
            return str(error)
        return ""

    return anyio.run(look)


@asynccontextmanager
async def open_worktrees(workspace: Path, run_id: str) -> AsyncIterator[Worktrees]:
    """The worktrees of a run; they stay when it ends.

    Raises:
        UsageError: the workspace is in no repository.
    """
    git = await repository_of(workspace)
    real = await anyio.to_thread.run_sync(os.path.realpath, workspace)
    yield Worktrees(git, Path(real), run_id)

"""Worktrees of an earlier run: found again, and handed to the run that goes on."""

from __future__ import annotations

import re
from pathlib import Path

from sashizu_core.errors import SashizuError

from sashizu_sandbox.worktrees.git import Git
from sashizu_sandbox.worktrees.manifest import AgentEntry, Manifest, entry_of

__all__ = ["existing", "free_folder", "known_entry", "moved_here", "why_gone"]


def why_gone(agent_id: str) -> str:
    """Why nobody can work on in the worktree of an agent instance; empty if somebody can. Blocks.

    Raises:
        ConfigError: what is known of worktrees is damaged.
    """
    found = entry_of(agent_id)
    if found is None:
        return "and no worktree of it is known any more"
    entry = found[1]
    if entry.folder.is_dir() or _never_changed(entry):
        return ""
    return f"and its folder {str(entry.folder)!r} is gone"


def known_entry(agent_id: str) -> tuple[Manifest, AgentEntry]:
    """The worktree of an agent instance, and the run that has it.

    Raises:
        SashizuError: there is none.
    """
    if (found := entry_of(agent_id)) is None:
        raise SashizuError(f"no worktree of the agent instance {agent_id} is known any more")
    return found


def _never_changed(entry: AgentEntry) -> bool:
    return entry.state == "removed" and not entry.commit and not entry.paths


async def existing(git: Git, base: str) -> str:
    """A commit that a worktree began with, if the repository still has it.

    Raises:
        SashizuError: it has not.
    """
    if not base or await git.object(f"{base}^{{commit}}") is None:
        raise SashizuError(f"the commit {base[:12]!r} that a worktree began with is gone")
    return base


def free_folder(manifest: Manifest, agent: str) -> Path:
    """Where the next worktree of an agent with that name lies."""
    count = sum(entry.agent == agent for entry in manifest.agents)
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", agent).strip("-") or "agent"
    return manifest.folder / (f"{slug}-{count + 1}" if count else slug)


async def _back(git: Git, entry: AgentEntry, base: str) -> None:
    """Have a branch begin anew; one that was killed over it may have done so already."""
    branch = f"refs/heads/{entry.branch}"
    if await git.object(branch) != base:
        await git.run("update-ref", branch, base, entry.commit)


async def moved_here(
    git: Git,
    manifest: Manifest,
    before: tuple[Manifest, AgentEntry],
    agent: str,
    agent_id: str,
) -> AgentEntry | None:
    """Take a worktree over into a run, with all that lies in it, committed or not.

    None where there is nothing to take over, since nothing had changed.

    Raises:
        SashizuError: it is gone.
        GitFailed: it cannot be moved; it stays where it is.
    """
    old, entry = before
    if _never_changed(entry):
        return None
    if not entry.folder.is_dir():
        raise SashizuError(f"the worktree {str(entry.folder)!r} of {entry.agent!r} is gone")
    base = old.base_of(entry)
    taken = AgentEntry(
        agent=agent,
        agent_id=agent_id,
        folder=free_folder(manifest, agent),
        git_folder=entry.git_folder,
        branch=entry.branch,
        commit=entry.commit,
        base=base,
        was=(*entry.was, entry.agent_id),
    )
    manifest.base = manifest.base or base
    manifest.agents.append(taken)
    manifest.save()  # first the note: whoever looks for it goes by which folder is there
    await git.run("worktree", "move", str(entry.folder), str(taken.folder))
    if entry.commit:  # what was kept is in its files, and is kept anew at the end
        await _back(git, entry, base)
        taken.commit = ""
        manifest.save()
    old.agents.remove(entry)
    old.save()
    return taken

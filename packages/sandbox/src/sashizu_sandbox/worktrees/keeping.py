"""What an agent changed in its worktree, kept as a commit on its branch."""

from __future__ import annotations

import os
from typing import Literal

from sashizu_core.types import ChangedFile, Changes

from sashizu_sandbox.worktrees.git import Git
from sashizu_sandbox.worktrees.manifest import AgentEntry, Manifest
from sashizu_sandbox.worktrees.snapshot import write_tree

__all__ = ["changed_files", "keep", "remove_folder"]

_CHANGES: dict[str, Literal["added", "modified", "deleted"]] = {"A": "added", "D": "deleted"}
_WORTH_NOTHING = ("__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".sashizu")
"""Ignored folders that programs make again: they do not keep a worktree alive."""


async def keep(git: Git, manifest: Manifest, entry: AgentEntry) -> Changes | None:
    """Commit what changed, and note it; a worktree without any change is removed.

    Raises:
        GitFailed: it cannot be committed; the folder stays as it is.
    """
    base = manifest.base_of(entry)
    there = git.at(entry.folder, entry.git_folder)
    tree = await write_tree(there)
    left_out = await _leave_repositories_out(there, base)
    if left_out:
        tree = await there.line("write-tree")
    ignored = await _ignored(there)
    entry.left_out = (*left_out, *ignored)
    if tree == await git.object(f"{base}^{{tree}}"):
        entry.state = "unchanged"
        if not entry.left_out:
            await remove_folder(git, entry)
            await git.run("branch", "--quiet", "-D", entry.branch)
            entry.state = "removed"
        return None
    message = f"What {entry.agent} changed in run {manifest.run_id}"
    entry.commit = await git.line("commit-tree", tree, "-p", base, "-m", message)
    await git.run("update-ref", f"refs/heads/{entry.branch}", entry.commit, base)
    files = await changed_files(git, base, entry.commit)
    entry.paths = tuple(file.path for file in files)
    entry.state = "changed"
    return Changes(
        branch=entry.branch,
        base=base,
        commit=entry.commit,
        folder=str(entry.folder),
        files=files,
        left_out=entry.left_out,
    )


async def changed_files(git: Git, old: str, new: str) -> tuple[ChangedFile, ...]:
    """What differs between two commits, sorted by path."""
    printed = await git.run("diff-tree", "-r", "-z", "--no-renames", "--name-status", old, new)
    words = [os.fsdecode(word) for word in printed.split(b"\0") if word]
    return tuple(
        ChangedFile(path, _CHANGES.get(status, "modified"))
        for status, path in zip(words[::2], words[1::2], strict=True)
    )


async def remove_folder(git: Git, entry: AgentEntry) -> None:
    """Remove a worktree's folder, and git's note of it; its branch stays."""
    if entry.folder.exists():
        await git.run("worktree", "remove", "--force", "--force", str(entry.folder))
    else:
        await git.run("worktree", "prune")


async def _leave_repositories_out(there: Git, base: str) -> tuple[str, ...]:
    """Take repositories that were made inside out of the index again: git keeps only their name."""
    now = await _links(await there.run("ls-files", "--stage", "-z"))
    before = await _links(await there.run("ls-tree", "-r", "-z", base))
    new = sorted(now - before)
    if new:
        names = b"".join(os.fsencode(path) + b"\0" for path in new)
        await there.run("update-index", "--force-remove", "-z", "--stdin", stdin=names)
        # A folder that git knew before may have become a repository: its files are not deleted.
        known = await there.run("ls-tree", "-r", "-z", "--full-tree", base, "--", *new)
        await there.run("update-index", "-z", "--index-info", stdin=known)
    return tuple(new)


async def _links(printed: bytes) -> set[str]:
    """The paths of a listing that are repositories of their own."""
    entries = (line.partition(b"\t") for line in printed.split(b"\0") if line)
    return {os.fsdecode(path) for meta, _, path in entries if meta.startswith(b"160000")}


async def _ignored(there: Git) -> tuple[str, ...]:
    """Files that git ignores and that somebody may still want."""
    printed = await there.run(
        "ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "-z"
    )
    names = [os.fsdecode(name) for name in printed.split(b"\0") if name]
    return tuple(
        name for name in names if not set(name.rstrip("/").split("/")) & set(_WORTH_NOTHING)
    )

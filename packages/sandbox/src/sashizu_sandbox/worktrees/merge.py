"""Brings what agents changed into the working tree: all of an agent's changes, or none."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sashizu_core.types import MergeConflict, MergePlan

from sashizu_sandbox.worktrees.git import Git, GitFailed
from sashizu_sandbox.worktrees.manifest import AgentEntry, Manifest
from sashizu_sandbox.worktrees.snapshot import snapshot

__all__ = ["Merged", "Rejected", "merge_changes", "plan_merge"]

_CONFLICTED = 1
"""The status of `git merge-tree` when there are conflicts."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An agent whose changes do not fit. `tree` holds the files with both sides marked."""

    entry: AgentEntry
    paths: tuple[str, ...]
    tree: str
    messages: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What merging would make, or has made: the commits before and after, and who is in it."""

    before: str
    after: str
    clean: tuple[AgentEntry, ...]
    rejected: tuple[Rejected, ...]


async def plan_merge(git: Git, manifest: Manifest) -> MergePlan | None:
    """What merging all changes would do now; None without any."""
    entries = [entry for entry in manifest.agents if entry.state == "changed"]
    if not entries:
        return None
    merged = await merge_changes(git, manifest, entries)
    counts = Counter(path for entry in entries for path in entry.paths)
    return MergePlan(
        clean=tuple(entry.agent_id for entry in merged.clean),
        conflicts=tuple(
            MergeConflict(rejected.entry.agent, rejected.entry.agent_id, rejected.paths)
            for rejected in merged.rejected
        ),
        overlaps=tuple(sorted(path for path, count in counts.items() if count > 1)),
    )


async def merge_changes(git: Git, manifest: Manifest, entries: Sequence[AgentEntry]) -> Merged:
    """Merge in git's store alone, one agent after the other; no file and no branch changes.

    Every commit made here has the base of an agent as its one parent, so that git compares with the
    files that the agent began with, whatever happened to the branch since.

    Raises:
        GitFailed: git is older than 2.38, or cannot read what it needs.
    """
    before = tip = await snapshot(git, "The files as merging found them", [manifest.base])
    clean: list[AgentEntry] = []
    rejected: list[Rejected] = []
    for entry in entries:
        base, ours = manifest.base_of(entry), tip
        if base != manifest.base:  # of an earlier run, which this one went on from
            ours = await git.line("commit-tree", f"{tip}^{{tree}}", "-p", base, "-m", "The files")
        try:
            printed = await git.run("merge-tree", "--write-tree", "-z", ours, entry.commit)
        except GitFailed as error:
            if error.status != _CONFLICTED or not error.output:
                raise
            rejected.append(_rejected(entry, error.output))
            continue
        tree = printed.split(b"\0", 1)[0].decode()
        message = f"With what {entry.agent} changed"
        tip = await git.line("commit-tree", tree, "-p", manifest.base, "-m", message)
        clean.append(entry)
    return Merged(before, tip, tuple(clean), tuple(rejected))


def _rejected(entry: AgentEntry, printed: bytes) -> Rejected:
    """Read the answer of `git merge-tree -z`: tree, conflicted files, an empty field, messages."""
    tree, _, rest = printed.partition(b"\0")
    files, _, messages = rest.partition(b"\0\0")
    paths = {os.fsdecode(line.partition(b"\t")[2]) for line in files.split(b"\0") if b"\t" in line}
    return Rejected(entry, tuple(sorted(paths)), tree.decode(), _texts(messages))


def _texts(messages: bytes) -> str:
    """The messages for a person.

    Each is a number of paths, the paths, a short type and a text, all ended by NUL.
    """
    words = messages.decode("utf-8", "replace").split("\0")
    texts = []
    at = 0
    while at < len(words) and words[at].isdigit():
        at += int(words[at]) + 1
        kind, text = (*words[at : at + 2], "", "")[:2]
        if kind.startswith("CONFLICT"):
            texts.append(text.strip())
        at += 2
    return "\n".join(texts)

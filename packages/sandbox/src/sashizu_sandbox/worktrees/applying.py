"""Writes what was merged into the working tree, all files or none."""

from __future__ import annotations

from sashizu_core.errors import UsageError

from sashizu_sandbox.worktrees.git import Git, GitFailed
from sashizu_sandbox.worktrees.manifest import Manifest
from sashizu_sandbox.worktrees.merge import Merged

__all__ = ["apply_merged"]


async def apply_merged(git: Git, manifest: Manifest, merged: Merged) -> None:
    """Change the files as the merge says, and note whose changes are in.

    The index and the branch stay as they are, so the changes can be looked at and committed.

    Raises:
        UsageError: a file changed since the merge was made; nothing was written.
    """
    patch = await git.run(
        "diff-tree",
        "-r",
        "-p",
        "--binary",
        "--full-index",
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        merged.before,
        merged.after,
    )
    if patch:
        try:
            # One call: it looks at all files before it writes the first.
            await git.run("apply", "--whitespace=nowarn", "-", stdin=patch)
        except GitFailed as error:
            raise UsageError(
                f"a file changed while merging, and nothing was written: {error}; try again"
            ) from error
    for entry in merged.clean:
        entry.state = "merged"
    manifest.save()

"""The state of a working tree as a commit, without touching its index or its files."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio.to_thread
from sashizu_core.errors import UsageError
from sashizu_core.secret_files import secret_depth

from sashizu_sandbox.worktrees.git import Git

__all__ = ["MAX_UNTRACKED_BYTES", "snapshot", "write_tree"]

MAX_UNTRACKED_BYTES = 512 * 1024 * 1024
"""The most that files which git does not know may hold together: they are copied."""


async def snapshot(git: Git, message: str, parents: Sequence[str] | None = None) -> str:
    """Commit what is there: changed files and new ones, ignored ones not. Returns its name.

    New files that hold secrets by their names are left out: a commit keeps them for ever.
    The commit hangs on nothing and no branch moves. `parents` are by default what is checked out.

    Raises:
        UsageError: there is more in new files than should be copied.
        GitFailed: a file cannot be read.
    """
    new = await _untracked(git)
    await _check_size(git, new)
    with TemporaryDirectory(prefix="sashizu-") as scratch:
        index = Path(scratch, "index")
        own = Path(await git.line("rev-parse", "--path-format=absolute", "--git-path", "index"))
        with suppress(FileNotFoundError):  # a repository where nothing was ever added
            # What it knows of the files spares reading them.
            await anyio.to_thread.run_sync(shutil.copyfile, own, index)
        variables = {"GIT_INDEX_FILE": str(index)}
        staged = await _staged(git, variables)
        await _leave_out(git, staged, variables)
        secret = [name for name in (*new, *staged) if secret_depth(name) >= 0]
        tree = await write_tree(git, variables, without=secret)
    if parents is None:
        head = await git.object("HEAD^{commit}")
        parents = [head] if head else []
    above = [word for parent in parents for word in ("-p", parent)]
    return await git.line("commit-tree", tree, *above, "-m", message)


async def write_tree(
    git: Git, variables: dict[str, str] | None = None, *, without: Sequence[str] = ()
) -> str:
    """Take everything into an index and write its tree; returns the tree's name."""
    paths = [".", *(f":(exclude,literal){name}" for name in without)]
    await git.run(
        *("add", "--all", "--pathspec-from-file=-", "--pathspec-file-nul"),
        stdin=b"".join(os.fsencode(path) + b"\0" for path in paths),
        variables=variables,
    )
    return await git.line("write-tree", variables=variables)


async def _untracked(git: Git) -> list[str]:
    """Files that git does not know and does not ignore, relative to the top."""
    printed = await git.run("ls-files", "--others", "--exclude-standard", "-z")
    return [os.fsdecode(name) for name in printed.split(b"\0") if name]


async def _staged(git: Git, variables: dict[str, str]) -> list[str]:
    """Files that were added and never committed, relative to the top."""
    asked: tuple[str, ...]
    if await git.object("HEAD^{commit}"):
        asked = ("diff-index", "--cached", "--name-only", "--diff-filter=A", "-z", "HEAD")
    else:
        asked = ("ls-files", "--cached", "-z")
    printed = await git.run(*asked, variables=variables)
    return [os.fsdecode(name) for name in printed.split(b"\0") if name]


async def _leave_out(git: Git, names: Sequence[str], variables: dict[str, str]) -> None:
    """Take those that hold secrets by their names out of an index."""
    secret = [os.fsencode(name) + b"\0" for name in names if secret_depth(name) >= 0]
    if secret:
        words = ("update-index", "--force-remove", "-z", "--stdin")
        await git.run(*words, stdin=b"".join(secret), variables=variables)


async def _check_size(git: Git, names: Sequence[str]) -> None:
    paths = [git.folder / name for name in names]
    size = await anyio.to_thread.run_sync(_bytes_of, paths)
    if size > MAX_UNTRACKED_BYTES:
        raise UsageError(
            f"{size >> 20} MiB of files in {str(git.folder)!r} are new to git and would be copied "
            f"for every agent (at most {MAX_UNTRACKED_BYTES >> 20} MiB): "
            "ignore them in .gitignore, or say --isolation none"
        )


def _bytes_of(paths: Sequence[Path]) -> int:
    total = 0
    for path in paths:
        try:
            found = path.lstat()
        except OSError:
            continue  # it went away; git will see what is there then
        total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total

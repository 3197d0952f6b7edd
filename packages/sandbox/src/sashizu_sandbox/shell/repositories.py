"""What git would start because the configuration of a repository says so.

Most of it is switched off by variables and options. Filters of files are not: git has no switch for
them, and `git status` and `git diff` may run them.
Source: the manual pages gitattributes and git-config of git 2.39.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["filters_named"]

_MOST_BYTES = 1024 * 1024
_STARTS = re.compile(rb"\[\s*(?:filter\b|include(?:if)?\b)", re.IGNORECASE)


def filters_named(folder: Path, root: Path) -> str:
    """The configuration that names filters, or more configuration, for a folder beneath a root.

    Empty where none does. Looks at files, and so blocks.
    """
    for config in _configurations(folder, root):
        try:
            with config.open("rb") as opened:
                data = opened.read(_MOST_BYTES + 1)
        except OSError:
            continue
        if len(data) > _MOST_BYTES or _STARTS.search(data):
            return str(config)
    return ""


def _configurations(folder: Path, root: Path) -> Iterator[Path]:
    for place in (folder, *folder.parents):
        git = place / ".git"
        if git.is_file():
            git = _linked(git)
        if git.is_dir():
            yield from (git / "config", git / "config.worktree")
            common = git / "commondir"
            if common.is_file():
                yield git / common.read_text("utf-8", "replace")[:4096].strip() / "config"
            return
        if place == root:
            return


def _linked(file: Path) -> Path:
    """Where the repository of a worktree or a submodule lies."""
    said = file.read_text("utf-8", "replace")[:4096].removeprefix("gitdir:").strip()
    return file.parent / said

"""Paths of grants: what they mean, and what they reach."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

__all__ = ["PROTECTED", "Touch", "clean", "covers", "lies_in"]

PROTECTED = (
    ".bitbucket",
    ".circleci",
    ".claude",
    ".codex",
    ".cursor",
    ".devcontainer",
    ".envrc",
    ".git",
    ".github",
    ".gitlab-ci.yml",
    ".husky",
    ".mcp.json",
    ".pre-commit-config.yaml",
    ".sashizu/agents",
    ".sashizu/sashizu.toml",
    ".travis.yml",
    ".vscode",
    "AGENTS.md",
    "CLAUDE.md",
    "Jenkinsfile",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    "sashizu.toml",
)
"""Files that decide what agents may do, or that other programs run.

To write one takes a grant that names it, or a path in it: a grant of the folder around it does not
reach it. Compared without regard to case, for file systems that have none.
"""

Touch = Literal["read", "write"]
"""What is done to a path."""


@lru_cache(maxsize=4096)
def clean(granted: str) -> str | None:
    """A granted path as requests are written, or None when it means nothing."""
    if "\0" in granted or not granted:
        return None
    parts = [part for part in granted.split("/") if part not in ("", ".")]
    if ".." in parts:
        return None
    if granted.startswith("/"):
        return "/" + "/".join(parts)
    return "/".join(parts) or "."


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it, compared by components. Both are clean."""
    if folder == ".":
        return not path.startswith("/")
    if folder == "/":
        return path.startswith("/")
    return path == folder or path.startswith(folder + "/")


def _guards(path: str) -> tuple[str, ...]:
    """The protected paths that a path lies in, lower-case."""
    lower = path.lower()
    return tuple(guard.lower() for guard in PROTECTED if lies_in(lower, guard.lower()))


def covers(granted: str, path: str, touch: Touch) -> bool:
    """Whether a grant reaches a path. Both are clean."""
    if not lies_in(path, granted):
        return False
    if touch == "read":
        return True
    return all(lies_in(granted.lower(), guard) for guard in _guards(path))

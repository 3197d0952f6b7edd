"""Paths of grants: what they mean, and what they reach."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import lru_cache
from itertools import product
from typing import Literal

from sashizu_core.secret_files import folded_paths, secret_depth

__all__ = [
    "PROTECTED",
    "PROTECTED_ANYWHERE",
    "Touch",
    "clean",
    "common_paths",
    "covers",
    "guards",
    "lies_in",
    "reaches_folded",
]

PROTECTED = (
    ".bash_login",
    ".bash_logout",
    ".bash_profile",
    ".bashrc",
    ".bitbucket",
    ".circleci",
    ".config/autostart",
    ".config/environment.d",
    ".config/fish",
    ".config/git",
    ".config/systemd",
    ".gitconfig",
    ".github",
    ".gitlab-ci.yml",
    ".gitmodules",
    ".local/bin",
    ".pre-commit-config.yaml",
    ".profile",
    ".sashizu/agents",
    ".sashizu/sashizu.toml",
    ".travis.yml",
    ".xprofile",
    ".xsession",
    ".zlogin",
    ".zprofile",
    ".zshenv",
    ".zshrc",
    "Jenkinsfile",
    "azure-pipelines.yml",
    "bitbucket-pipelines.yml",
    "sashizu.toml",
)
"""Files of the workspace's root that other programs run, or that decide what agents may do.

To write one takes a grant that names it, or a path in it: a grant of the folder around it does not
reach it. Compared without regard to case, for file systems that have none.
"""

PROTECTED_ANYWHERE = (
    ".claude",
    ".codex",
    ".cursor",
    ".cursorrules",
    ".devcontainer",
    ".devcontainer.json",
    ".envrc",
    ".git",
    ".gitattributes",
    ".husky",
    ".mcp.json",
    ".sashizu",
    ".vscode",
    ".windsurfrules",
    "AGENTS.md",
    "CLAUDE.md",
    "GEMINI.md",
)
"""The same for what counts in every folder: agents, editors, shells and git look for it there."""

Touch = Literal["read", "write"]
"""What is done to a path."""


@lru_cache(maxsize=4096)
def clean(granted: str) -> str | None:
    """A granted path as requests are written, or None when it means nothing."""
    if "\0" in granted or not granted:
        return None
    if sys.platform == "win32":
        granted = _with_slashes(granted)
    parts = [part for part in granted.split("/") if part not in ("", ".")]
    if ".." in parts:
        return None
    if granted.startswith("/"):
        return "/" + "/".join(parts)
    return "/".join(parts) or "."


def _with_slashes(granted: str) -> str:
    """A granted path of Windows as names are written: `C:` is a folder of `/`."""
    granted = granted.replace("\\", "/")
    drive = granted[:1].isascii() and granted[:1].isalpha() and granted[1:2] == ":"
    return f"/{granted[0].upper()}{granted[1:]}" if drive else granted


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is a folder or lies in it, compared by components. Both are clean."""
    if folder == ".":
        return not path.startswith("/")
    if folder == "/":
        return path.startswith("/")
    return path == folder or path.startswith(folder + "/")


_ROOT = tuple(guard.lower() for guard in PROTECTED)
_ANYWHERE = frozenset(guard.lower() for guard in PROTECTED_ANYWHERE)


@lru_cache(maxsize=4096)
def guards(path: str) -> tuple[str, ...]:
    """The protected paths that a clean path is or lies in, lower-case."""
    found = []
    for folded in folded_paths(path):
        found += [guard for guard in _ROOT if lies_in(folded, guard)]
        parts = folded.split("/")
        found += [
            "/".join(parts[: place + 1]) for place, part in enumerate(parts) if part in _ANYWHERE
        ]
    return tuple(dict.fromkeys(found))


def _depth(granted: str) -> int:
    """How many slashes a clean grant has; -1 where it names no file."""
    return -1 if granted in (".", "/") else granted.count("/")


def covers(granted: str, path: str, touch: Touch) -> bool:
    """Whether a grant reaches a path. Both are clean.

    What is protected, and what holds secrets, is reached only by a grant that names it.
    """
    if not lies_in(path, granted) or _depth(granted) < secret_depth(path):
        return False
    if touch == "read":
        return True
    return all(lies_in(granted.lower(), guard) for guard in guards(path))


def reaches_folded(pattern: str, path: str) -> bool:
    """Whether a path may lie in a folder for a file system that is less exact than others."""
    folders = folded_paths(pattern)
    return any(lies_in(mine, folder) for mine in folded_paths(path) for folder in folders)


def common_paths(first: Iterable[str], second: Iterable[str], touch: Touch) -> tuple[str, ...]:
    """The paths that both of two lists of grants reach."""
    mine, theirs = ({c for g in paths if (c := clean(g))} for paths in (first, second))
    found = {path for path in mine & theirs if covers(path, path, touch)}
    for a, b in product(mine, theirs):
        if a == b:
            continue
        if covers(a, b, touch):
            found.add(b)
        elif covers(b, a, touch):
            found.add(a)
    return tuple(sorted(found))

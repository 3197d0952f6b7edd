"""`AGENTS.md` files: those in the folders from the workspace's root down to what an agent does."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from sashizu_core.documents import read_source
from sashizu_core.skills.skill import Guidance, Whose, visible_text

__all__ = ["GUIDANCE_FILE", "all_guidance", "fitted", "guidance_paths", "read_guidance"]

GUIDANCE_FILE = "AGENTS.md"

LARGEST_GUIDANCE = 128 * 1024
"""Bytes of one `AGENTS.md` that are read."""

MOST_BYTES = 32 * 1024
"""Bytes of all guidance together that one agent is told."""

SHARE_OF_BUDGET = 8
"""One part of so many of the tokens that are left may be guidance: a byte counts as a token."""

MOST_FILES = 500
MOST_ENTRIES = 200_000
"""What is looked at when all guidance of a repository is listed."""

_LEFT_OUT = frozenset({".git", ".hg", ".svn", ".venv", "__pycache__", "node_modules", "venv"})


def guidance_paths(scope: Iterable[str], root: Path) -> tuple[str, ...]:
    """Where guidance for a scope may lie, the workspace's root first and the nearest last.

    Paths are relative to the workspace, with `/`; what lies outside of it has none.
    """
    found = dict.fromkeys([PurePosixPath()])
    for text in scope:
        path = PurePosixPath(text)
        if path.is_absolute() or ".." in path.parts:
            continue
        folder = path if (root / path).is_dir() else path.parent
        found |= dict.fromkeys([*reversed(folder.parents), folder])
    ordered = sorted(found, key=lambda folder: (len(folder.parts), str(folder)))
    return tuple((folder / GUIDANCE_FILE).as_posix() for folder in ordered)


def read_guidance(file: Path, path: str, whose: Whose) -> Guidance | None:
    """One file; None where there is none, or it says nothing.

    A repository's is not read through symbolic links.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        source = read_source(file, limit_bytes=LARGEST_GUIDANCE, follow_links=whose == "user")
    except FileNotFoundError:
        return None
    text = visible_text(source.text).strip()
    return Guidance(path, text, whose, source.sha256) if text else None


def all_guidance(root: Path) -> Iterator[str]:
    """The paths of all guidance in a workspace, sorted; folders of packages are left out."""
    count, found = 0, []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in _LEFT_OUT]
        count += len(files) + len(folders)
        if GUIDANCE_FILE in files:
            found.append((Path(folder) / GUIDANCE_FILE).relative_to(root).as_posix())
        if count > MOST_ENTRIES or len(found) == MOST_FILES:
            break
    yield from sorted(found)


def fitted(guidance: Sequence[Guidance], tokens_left: int | None) -> tuple[Guidance, ...]:
    """As much guidance as an agent is told, the nearest first to be kept.

    What does not fit is cut, with a note where the rest is.
    """
    room = MOST_BYTES if tokens_left is None else min(MOST_BYTES, tokens_left // SHARE_OF_BUDGET)
    kept: list[Guidance] = []
    for each in reversed(guidance):
        data = each.text.encode("utf-8", "surrogatepass")
        if len(data) > room:
            text = data[:room].decode("utf-8", "ignore").rpartition("\n")[0]
            note = f"[cut: {len(data)} bytes in all; the rest is in {each.path}]"
            kept.append(replace(each, text=f"{text}\n{note}" if text else note))
            break
        room -= len(data)
        kept.append(each)
    return tuple(reversed(kept))

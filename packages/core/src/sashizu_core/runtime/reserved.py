"""Folders that are nobody's to work in: where sashizu keeps its state and its operator's settings.

They decide what agents may do (trust, policy, agents of the user) and prove what they did. Somebody
who works in their home folder has them in the workspace.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sashizu_core.errors import UsageError
from sashizu_core.grants import Rule
from sashizu_core.home import config_home, state_home

__all__ = ["check_workspace", "reserved_rules"]

WORKTREES = "worktrees"
"""What lies in the state folder and is there to be worked in."""

_REASON = "sashizu keeps its state or its operator's settings there"


def _folders() -> Iterator[tuple[str, Path]]:
    for what, folder in (("state", state_home()), ("settings", config_home())):
        yield what, Path(os.path.realpath(folder))


def check_workspace(root: Path) -> None:
    """Refuse a workspace in one of the folders; worktrees are there to be worked in.

    Raises:
        UsageError: it is one.
    """
    real = Path(os.path.realpath(root))
    for what, folder in _folders():
        if real.is_relative_to(folder) and not real.is_relative_to(folder / WORKTREES):
            raise UsageError(
                f"the workspace {str(root)!r} is where sashizu keeps its {what}: no agent works "
                "there; choose another with -C"
            )


def reserved_rules(root: Path, outside: Iterable[str] = ()) -> tuple[Rule, ...]:
    """Rules that deny an agent the folders, as far as its workspace has them.

    `root` is the workspace, `outside` are further absolute paths that it reaches.
    """
    real = Path(os.path.realpath(root))
    further = [Path(os.path.realpath(path)) for path in outside]
    patterns = [pattern for _, folder in _folders() for pattern in _patterns(folder, real, further)]
    return tuple(
        Rule("deny", touch, pattern, _REASON)
        for pattern in dict.fromkeys(patterns)
        for touch in ("read", "write")
    )


def _patterns(folder: Path, root: Path, further: Sequence[Path]) -> Iterator[str]:
    if folder.is_relative_to(root):
        yield folder.relative_to(root).as_posix()
    if any(folder.is_relative_to(path) or path.is_relative_to(folder) for path in further):
        yield folder.as_posix()

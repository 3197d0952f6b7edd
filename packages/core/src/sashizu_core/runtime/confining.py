"""What the programs of an agent may touch, made from its effective permission."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sashizu_core.errors import SandboxError
from sashizu_core.granted_paths import (
    PROTECTED,
    PROTECTED_ANYWHERE,
    clean,
    common_paths,
    covers,
    guards,
    lies_in,
)
from sashizu_core.grants import Grants, Subject
from sashizu_core.permissions import effective, readable
from sashizu_core.protocols import Readable
from sashizu_core.sandboxing import Confinement
from sashizu_core.workspace import Workspace

__all__ = ["confinement_of"]

SECRETS_OF_GIT = ("config", "config.worktree")
"""Files of a git folder that may hold passwords."""

OBJECTS = ".git/objects"
"""Where git keeps contents under their digests: too many to look at, and none has a name."""

MOST_ENTRIES = 1_000_000
"""Files and folders of a workspace that are looked at for what may not be read."""


def confinement_of(
    workspace: Workspace, subject: Subject, further: Sequence[Path] = ()
) -> Confinement:
    """The confinement of an agent's programs. Looks at every file that may be read; blocks.

    A program cannot be held to ask before it touches a path, so what a rule asks for is denied to
    it; and it cannot be held to write without reading, so it writes only what may be read too.
    `further` are absolute paths that programs in the workspace need to read, such as the store of
    git: whoever may not read the whole workspace does not get them.

    Raises:
        SandboxError: there are too many files to look at.
    """
    grants, may_read = effective(subject.chain), readable(subject)
    root = workspace.root
    read = _outermost(path for path in may_read.roots() if _leads_here(root, path))
    write = _outermost(path for path in _writable(grants, read) if _leads_here(root, path))
    hidden, protected = _exceptions(root, (*read, *write), may_read, grants)
    # What is not of the workspace may be seen by whoever may see all of it, but for its secrets.
    further = further if may_read(".") else ()
    secrets = [folder / name for folder in further for name in SECRETS_OF_GIT]
    return Confinement(
        cwd=root,
        workspace=root,
        readable=(
            *(_place(root, path) for path in read if not _lies_in_any(path, write)),
            *further,
        ),
        writable=tuple(_place(root, path) for path in write),
        protected=tuple(
            _place(root, path)
            for path in dict.fromkeys((*_protected(grants, write), *protected))
            if _lies_in_any(path, write)
        ),
        hidden=(*(_place(root, path) for path in dict.fromkeys(hidden)), *secrets),
    )


def _place(root: Path, path: str) -> Path:
    return root / path


def _leads_here(root: Path, path: str) -> bool:
    """Whether a granted path of the workspace is where it says, with no symbolic link on the way.

    A link could lead anywhere, and whoever may write the folder around could put it there.
    """
    return path.startswith("/") or os.path.realpath(root / path) == str(root / path)


def _lies_in_any(path: str, folders: Iterable[str]) -> bool:
    return any(lies_in(path, folder) for folder in folders)


def _outermost(paths: Iterable[str]) -> tuple[str, ...]:
    found = dict.fromkeys(paths)
    return tuple(
        path for path in found if not any(other != path and lies_in(path, other) for other in found)
    )


def _writable(grants: Grants, read: Iterable[str]) -> tuple[str, ...]:
    """What is granted to be written and read, but for what a rule stands before."""
    patterns = _ruled(grants)
    if patterns is None:
        return ()
    both = common_paths(read, grants.fs_write, "read")
    return tuple(path for path in both if not _lies_in_any(path, patterns))


def _ruled(grants: Grants) -> tuple[str, ...] | None:
    """The paths that rules keep from being written; None where that is all of them."""
    patterns = []
    for rule in grants.rules:
        if rule.touches != "write":
            continue
        pattern = clean(rule.pattern)
        if rule.pattern == "*" or pattern in (None, "."):
            return None
        patterns.append(str(pattern))
    return tuple(patterns)


def _protected(grants: Grants, write: Sequence[str]) -> Iterator[str]:
    """What is not to be written in a writable folder, whether it is there or not.

    What is protected in every folder is named for those that are granted; elsewhere it is found
    where it is, and nothing keeps a program from making one where there is none.
    """
    anywhere = [f"{folder}/{name}" for folder in write for name in PROTECTED_ANYWHERE]
    for guard in (*PROTECTED, *(path.removeprefix("./") for path in anywhere)):
        if not _may_write(guard, grants):
            yield guard
    yield from _ruled(grants) or ()


def _may_write(path: str, grants: Grants) -> bool:
    return any(
        covers(granted, path, "write") for text in grants.fs_write if (granted := clean(text))
    )


def _exceptions(
    root: Path, shown: Iterable[str], may_read: Readable, grants: Grants
) -> tuple[list[str], list[str]]:
    """What lies in a folder that may be read and may not be read itself, and what is protected."""
    hidden, protected = [], []
    count = 0
    waiting = list(shown)
    while waiting:
        folder = waiting.pop()
        for entry in _entries(_place(root, folder)):
            count += 1
            if count > MOST_ENTRIES:
                raise SandboxError(
                    f"no program is run: more than {MOST_ENTRIES} files to look at for what may "
                    "not be read; grant fewer folders"
                )
            name = entry.name if folder == "." else f"{folder.rstrip('/')}/{entry.name}"
            if not may_read(name):
                hidden.append(name)
                continue
            if guards(name) and not _may_write(name, grants):
                protected.append(name)
            if entry.is_dir(follow_symlinks=False) and not name.endswith(OBJECTS):
                waiting.append(name)
    return hidden, protected


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # a file, or a folder that is gone, or not ours: nothing in it is shown either
        return []

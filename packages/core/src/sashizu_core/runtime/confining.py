"""What the programs of an agent may touch, made from its effective permission."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns

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
from sashizu_core.sandboxing import Confinement
from sashizu_core.workspace import Workspace

__all__ = ["Confining", "confinement_of"]

SETTINGS_OF_GIT = (".git/config", ".git/config.worktree")
"""Files that may hold passwords, and that git does not work without."""

OBJECTS = "/.git/objects"
"""Where git keeps contents under their digests: too many to look at, and none has a name."""

SETTLED_NS = 100_000_000
"""How long ago a folder must have changed for its time of change to tell it from the next."""

MOST_ENTRIES = 1_000_000
"""Files and folders of a workspace that are looked at for what may not be read."""


class Confining:
    """Makes the confinement of an agent's programs, anew for each of them.

    What may not be read or written is found by looking at every folder that is shown. A folder that
    has not changed since is not looked at again.

    Args:
        workspace: where the agent works.
        subject: whose permission holds.
        stores: folders of git that the workspace belongs to: whoever may not read the whole
            workspace does not get them.
        further: absolute paths that the programs need to read.
    """

    def __init__(
        self,
        workspace: Workspace,
        subject: Subject,
        stores: Sequence[Path] = (),
        further: Sequence[Path] = (),
    ) -> None:
        self._root = workspace.root
        self._grants = effective(subject.chain)
        self._may_read = readable(subject)
        self._stores = tuple(stores) if self._may_read(".") else ()
        self._further = tuple(further)
        self._seen: dict[str, _Seen] = {}

    def __call__(self) -> Confinement:
        """The confinement for a program that starts now. Blocks.

        A program cannot be held to ask before it touches a path, so what a rule asks for is denied
        to it; and it cannot be held to write without reading, so it writes only what may be read
        too.

        Raises:
            SandboxError: there are too many files to look at.
        """
        root = self._root
        read = _outermost(path for path in self._may_read.roots() if _leads_here(root, path))
        writable = _writable(self._grants, read)
        write = _outermost(path for path in writable if _leads_here(root, path))
        hidden, protected = self._exceptions((*read, *write))
        return Confinement(
            cwd=root,
            workspace=root,
            readable=(
                *(_place(root, path) for path in read if not _lies_in_any(path, write)),
                *self._stores,
                *self._further,
            ),
            writable=tuple(_place(root, path) for path in write),
            protected=tuple(
                _place(root, path)
                for path in dict.fromkeys((*_protected(self._grants, write), *protected))
                if _lies_in_any(path, write)
            ),
            hidden=tuple(_place(root, path) for path in dict.fromkeys(hidden)),
        )

    def _exceptions(self, shown: Iterable[str]) -> tuple[list[str], list[str]]:
        """What in folders that may be read may not be read itself, and what is protected."""
        hidden, protected = [], []
        count = 0
        waiting = list(shown)
        while waiting:
            seen = self._look(waiting.pop())
            count += seen.count
            if count > MOST_ENTRIES:
                raise SandboxError(
                    f"no program is run: more than {MOST_ENTRIES} files to look at for what may "
                    "not be read; grant fewer folders"
                )
            hidden += seen.hidden
            protected += seen.protected
            waiting += seen.folders
        return hidden, protected

    def _look(self, folder: str) -> _Seen:
        """What stands in one folder; from before if it is as it was."""
        place = _place(self._root, folder)
        try:
            changed = place.stat(follow_symlinks=False).st_ctime_ns  # nobody can set it
        except OSError:
            changed = -1
        known = self._seen.get(folder)
        if known is not None and known.changed == changed >= 0:
            return known
        found = self._look_anew(folder, place)
        # Times are coarse: what changes in the same instant as we look is not seen by them.
        found.changed = changed if time_ns() - changed > SETTLED_NS else -1
        self._seen[folder] = found
        return found

    def _look_anew(self, folder: str, place: Path) -> _Seen:
        seen = _Seen()
        for entry in _entries(place):
            seen.count += 1
            name = entry.name if folder == "." else f"{folder.rstrip('/')}/{entry.name}"
            if not _is_plain(entry) or not (self._may_read(name) or _is_settings_of_git(name)):
                seen.hidden.append(name)
                continue
            if guards(name) and not _may_write(name, self._grants):
                seen.protected.append(name)
            if entry.is_dir(follow_symlinks=False) and not f"/{name}".endswith(OBJECTS):
                seen.folders.append(name)
        return seen


def confinement_of(
    workspace: Workspace, subject: Subject, further: Sequence[Path] = ()
) -> Confinement:
    """The confinement of one program that starts now; see `Confining`. Blocks.

    Raises:
        SandboxError: there are too many files to look at.
    """
    return Confining(workspace, subject, further=further)()


@dataclass(slots=True)
class _Seen:
    """What stood in a folder when its time of change was `changed`, in nanoseconds."""

    changed: int = -1
    count: int = 0
    hidden: list[str] = field(default_factory=list)
    protected: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)


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


def _is_settings_of_git(name: str) -> bool:
    return name in SETTINGS_OF_GIT or name.endswith(tuple(f"/{file}" for file in SETTINGS_OF_GIT))


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, a folder or a link: a socket or a pipe leads to another program."""
    plain = entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
    return plain or entry.is_symlink()


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # a file, or a folder that is gone, or not ours: nothing in it is shown either
        return []

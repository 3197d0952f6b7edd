"""From a confinement to mounts: what a program sees, in the order in which it is put in place."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sashizu_core.errors import SandboxError
from sashizu_core.sandboxing import Confinement, check_links

from sashizu_sandbox.bubblewrap.guards import is_placeholder

__all__ = ["Mount", "mounts_of"]

Kind = Literal["read", "write", "pin", "protect", "guard", "hide-folder", "hide-file", "link"]

_STRENGTH: dict[Kind, int] = {
    "link": 0,
    "read": 1,
    "write": 2,
    "pin": 3,
    "guard": 4,
    "protect": 5,
    "hide-file": 6,
    "hide-folder": 6,
}


@dataclass(frozen=True, slots=True)
class Mount:
    """One thing to put in place at `path`.

    `read` and `write` show what was granted. `pin` shows a folder on the way to a special path once
    more, so that it cannot be renamed to put another in its place. `protect` shows something
    read-only; `guard` does so with a path that does not exist yet, as an empty folder. `hide-…`
    covers something. `link` is a symbolic link to `target`.
    """

    kind: Kind
    path: Path
    target: Path | None = None


def mounts_of(confinement: Confinement) -> list[Mount]:
    """What to put in place, parents before children.

    A root that does not exist is left out. Symbolic links of the roots themselves are followed, and
    shown as links, but for those in the workspace; below a writable root none is.

    Raises:
        SandboxError: a symbolic link stands where it would have to be protected, or where a part of
            the workspace was granted; or something was replaced at this very moment.
    """
    try:
        return _mounts_of(confinement)
    except OSError as error:
        raise SandboxError(f"what a program may touch is changing just now: {error}") from error


def _mounts_of(confinement: Confinement) -> list[Mount]:
    check_links(confinement)
    links = _Links()
    write = _outermost(links.resolve(confinement.writable), ())
    read = _outermost(links.resolve(confinement.readable), write)
    mounts = [Mount("read", path) for path in read]
    mounts += [Mount("write", path) for path in write]
    for path in confinement.protected:
        mounts += _protected(links.place(path), write)
    for path in confinement.hidden:
        mounts += _hidden(links.place(path), write, (*read, *write))
    mounts += links.mounts((*read, *write))
    return _ordered(mounts)


def _ordered(mounts: Iterable[Mount]) -> list[Mount]:
    """One mount a path, the strictest; nothing in what is hidden, no writing in the protected."""
    best: dict[Path, Mount] = {}
    for mount in mounts:
        known = best.get(mount.path)
        if known is None or _STRENGTH[known.kind] < _STRENGTH[mount.kind]:
            best[mount.path] = mount
    kept: dict[Path, Mount] = {}
    for path in sorted(best, key=lambda path: (len(path.parts), path)):
        above = {kept[parent].kind for parent in path.parents if parent in kept}
        if above & {"hide-folder", "hide-file", "guard"}:
            continue
        if "protect" in above and not best[path].kind.startswith("hide"):
            continue
        kept[path] = best[path]
    return list(kept.values())


def _outermost(paths: Iterable[Path], wider: tuple[Path, ...]) -> tuple[Path, ...]:
    """Those that lie in no other, nor in one of `wider`."""
    several = set(paths)
    return tuple(
        path
        for path in sorted(several)
        if not any(parent in several for parent in path.parents)
        and not any(path.is_relative_to(root) for root in wider)
    )


class _Links:
    """Resolves the roots, and remembers by which other names they were called."""

    def __init__(self) -> None:
        self._real: dict[Path, Path] = {}

    def resolve(self, paths: Iterable[Path]) -> list[Path]:
        real = [(path, Path(os.path.realpath(path))) for path in paths]
        present = [(path, target) for path, target in real if target.exists()]
        self._real |= {path: target for path, target in present if path != target}
        return [target for _, target in present]

    def place(self, path: Path) -> Path:
        """Where a path below a root lies that may have been called by another name."""
        path = Path(os.path.normpath(path))
        for called, target in self._real.items():
            if path.is_relative_to(called):
                return target / path.relative_to(called)
        return path

    def mounts(self, shown: tuple[Path, ...]) -> Iterator[Mount]:
        for called, target in self._real.items():
            if not any(called.is_relative_to(root) for root in shown):
                yield Mount("link", called, target)


def _root_of(path: Path, roots: Iterable[Path]) -> Path | None:
    return next((root for root in roots if path.is_relative_to(root)), None)


def _steps(root: Path, path: Path) -> Iterator[tuple[Path, int | None]]:
    """The places between a root and a path, the path last, each with its mode if it exists."""
    place = root
    for part in path.relative_to(root).parts:
        place = place / part
        try:
            mode = place.lstat().st_mode
        except FileNotFoundError:
            yield place, None
            return
        except OSError as error:
            raise SandboxError(f"{str(place)!r} cannot be protected: {error.strerror}") from error
        yield place, mode


def _protected(path: Path, write: tuple[Path, ...]) -> Iterator[Mount]:
    yield from (Mount("protect", inner) for inner in write if inner.is_relative_to(path))
    root = _root_of(path, write)
    if root is None or path == root:
        return  # nothing else there can be written anyway
    for place, mode in _steps(root, path):
        if mode is None or is_placeholder(mode):
            if os.access(place.parent, os.W_OK):  # else nobody can make anything there
                yield Mount("guard", place)
            return
        elif stat.S_ISLNK(mode):
            yield from _protected_link(place, root, write)
            return
        elif place == path or not stat.S_ISDIR(mode):
            yield Mount("protect", place)
            return
        else:
            yield Mount("pin", place)


def _protected_link(link: Path, root: Path, write: tuple[Path, ...]) -> Iterator[Mount]:
    """A link cannot be covered, so the folder that it lies in becomes read-only."""
    if link.parent == root:
        raise SandboxError(
            f"{str(link)!r} is a symbolic link and could be replaced, but it has to be protected: "
            "put the file itself there, or grant writing to single folders"
        )
    yield Mount("protect", link.parent)
    target = Path(os.path.realpath(link))
    if target.exists() and _root_of(target, write) is not None:
        yield from _protected(target, write)


def _hidden(path: Path, write: tuple[Path, ...], shown: tuple[Path, ...]) -> Iterator[Mount]:
    for inner in shown:
        if inner.is_relative_to(path):
            yield Mount("hide-folder" if inner.is_dir() else "hide-file", inner)
    root = _root_of(path, shown)
    if root is None or path == root:
        return  # nothing else of it is shown
    for place, mode in _steps(root, path):
        if mode is None:
            return
        if stat.S_ISLNK(mode):
            target = Path(os.path.realpath(place)) / path.relative_to(place)
            if target.exists():
                yield from _hidden(target, write, shown)
            return
        if place == path:
            yield Mount("hide-folder" if stat.S_ISDIR(mode) else "hide-file", place)
        elif root in write:
            yield Mount("pin", place)

"""Walking a folder: sorted, without what git ignores, within bounds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sashizu_core.workspace.dirs import Dir, Kind
from sashizu_core.workspace.ignore import IgnoreFile, ignored
from sashizu_core.workspace.names import is_git_folder, joined, parts_of
from sashizu_core.workspace.reading import read_open_file

__all__ = ["Entry", "Listing", "Walk"]

MAX_DEPTH = 100
"""How deep a walk goes; every level holds a descriptor."""

MAX_IGNORE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """Something in a folder. `path` is its name in the workspace; a link is never followed."""

    path: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Listing:
    r"""What a walk found, sorted by component, a folder before what lies in it.

    `complete` is False when the walk stopped at a bound. `unnamed` counts entries whose names are
    no UTF-8, which nobody could ask for; `unnamed_paths` shows them with `\xNN` for such bytes.
    """

    entries: tuple[Entry, ...]
    complete: bool = True
    unnamed: int = 0
    unnamed_paths: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(entry.path for entry in self.entries if entry.kind == "file")


def read_ignore_file(folder: Dir, depth: int) -> IgnoreFile | None:
    """The `.gitignore` of a folder; None where there is none, or none that can be read."""
    try:
        fd = folder.child_file(".gitignore")
    except OSError:
        return None
    try:
        data = read_open_file(fd, MAX_IGNORE_BYTES)
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)
    return IgnoreFile(data.decode("utf-8", "replace"), depth)


class Walk:
    """One walk.

    Args:
        limit: the most entries that are returned.
        depth: how many levels are entered; 1 is the folder itself.
        keep: called with an entry's name; what it refuses is left out, folders with all they hold.
        ignore: whether `.gitignore` files count.
        tick: called between entries; what it raises ends the walk.
        names: the names of folders that have another than the one their parent would give them.
    """

    def __init__(
        self,
        *,
        limit: int,
        depth: int | None = None,
        keep: Callable[[str], bool] | None = None,
        ignore: bool = True,
        tick: Callable[[], None] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._limit = limit
        self._depth = min(depth or MAX_DEPTH, MAX_DEPTH)
        self._keep = keep
        self._ignore = ignore
        self._tick = tick
        self._names = names or {}
        self._entries: list[Entry] = []
        self._complete = True
        self._unnamed: list[str] = []

    def run(self, folder: Dir, name: str, above: Sequence[IgnoreFile]) -> Listing:
        """Walk a folder. `above` are the ignore files of the folders over it, nearest first."""
        self._enter(folder, name, tuple(above), 1)
        unnamed = tuple(sorted(self._unnamed))
        return Listing(tuple(self._entries), self._complete, len(unnamed), unnamed)

    def _enter(self, folder: Dir, name: str, above: tuple[IgnoreFile, ...], level: int) -> None:
        files = above
        if self._ignore and (own := read_ignore_file(folder, len(parts_of(name)))) is not None:
            files = (own, *above)
        for entry, path, kind in self._kept(folder, name, files):
            if len(self._entries) >= self._limit:
                self._complete = False
                return
            self._entries.append(Entry(path, kind))
            if kind == "folder":
                # A folder with a name of its own is a root: rules from above are not about it.
                own_name = path in self._names.values()
                self._descend(folder, entry, path, () if own_name else files, level)

    def _descend(
        self, folder: Dir, entry: str, path: str, files: tuple[IgnoreFile, ...], level: int
    ) -> None:
        if level >= self._depth:
            self._complete = self._complete and level < MAX_DEPTH
            return
        try:
            child = folder.child_dir(entry)
        except OSError:
            return  # gone, swapped for something else, or not ours to read
        try:
            self._enter(child, path, files, level + 1)
        finally:
            child.close()

    def _kept(
        self, folder: Dir, name: str, files: Sequence[IgnoreFile]
    ) -> Iterator[tuple[str, str, Kind]]:
        """The entries that count, sorted: the last component, the name, the kind."""
        try:
            found = sorted(self._scanned(folder, name))
        except OSError:
            return
        for entry, kind in found:
            if self._tick is not None:
                self._tick()
            plain = joined(name, entry)
            path = self._names.get(plain, plain)
            if self._keep is not None and not self._keep(path):
                continue
            if files and ignored(files, parts_of(plain), is_folder=kind == "folder"):
                continue
            yield entry, path, kind

    def _scanned(self, folder: Dir, name: str) -> Iterator[tuple[str, Kind]]:
        for entry, kind in folder.scan():
            if is_git_folder(entry):
                continue
            try:
                entry.encode()
            except UnicodeEncodeError:
                shown = joined(name, os.fsencode(entry).decode("utf-8", "backslashreplace"))
                if self._keep is None or self._keep(shown):
                    self._unnamed.append(shown)
                continue
            yield entry, kind

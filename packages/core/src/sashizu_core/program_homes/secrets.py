"""What lies in the home of a program and is nobody's to see: keys, passwords, sockets.

A folder that has not changed since is not looked at again. Folders of packages, of which there are
many and which only installing changes, are looked at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import time_ns

from sashizu_core.secret_files import secret_depth

__all__ = ["hidden_in"]

_PACKAGES = frozenset({"dist-packages", "node_modules", "rustlib", "site-packages"})

_CERTIFICATES = (".pem", ".key")
"""What packages bring of these is public: lists of authorities, and what their tests need."""

_AUTHORITIES = frozenset({"cacert.pem", "cert.pem"})

_SETTLED_NS = 100_000_000
"""How long ago a folder must have changed for its time of change to tell it from the next."""


@dataclass(slots=True)
class _Seen:
    changed: int = -1
    hidden: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)


_seen: dict[Path, _Seen] = {}
_packages: dict[Path, tuple[Path, ...]] = {}


def hidden_in(home: Path) -> Iterator[Path]:
    """Files and folders below a home that are not to be shown. Blocks."""
    waiting = [home]
    while waiting:
        folder = waiting.pop()
        if _is_of_packages(folder):
            if folder not in _packages:
                _packages[folder] = tuple(_everywhere(folder))
            yield from _packages[folder]
            continue
        seen = _look(home, folder)
        yield from seen.hidden
        waiting += seen.folders


def _is_of_packages(folder: Path) -> bool:
    library = folder.parent.name.startswith("lib") and folder.name.startswith("python3.")
    return library or folder.name in _PACKAGES


def _everywhere(folder: Path) -> Iterator[Path]:
    """What is hidden among packages: by single names, because there are so many."""
    waiting = [str(folder)]
    while waiting:
        for entry in _entries(waiting.pop()):
            is_folder = entry.is_dir(follow_symlinks=False)
            if not _is_plain(entry):
                yield Path(entry.path)
            elif not is_folder and entry.name.endswith(_CERTIFICATES):
                continue
            elif secret_depth(entry.name) >= 0:
                yield Path(entry.path)
            elif is_folder:
                waiting.append(entry.path)


def _look(home: Path, folder: Path) -> _Seen:
    try:
        changed = folder.stat().st_ctime_ns  # nobody can set it
    except OSError:
        changed = -1
    known = _seen.get(folder)
    if known is not None and known.changed == changed >= 0:
        return known
    found = _look_anew(home, folder)
    # Times are coarse: what changes in the same instant as we look is not seen by them.
    found.changed = changed if time_ns() - changed > _SETTLED_NS else -1
    _seen[folder] = found
    return found


def _look_anew(home: Path, folder: Path) -> _Seen:
    # Names of two parts may begin above the home; what the home itself is called does not matter.
    around = f"{home.parent.name}/{home.name}/"
    below = "" if folder == home else f"{folder.relative_to(home)}/"
    seen = _Seen()
    for entry in _entries(folder):
        is_folder = entry.is_dir(follow_symlinks=False)
        secret = secret_depth(f"{around}{below}{entry.name}") >= around.count("/")
        if not _is_plain(entry) or (secret and (is_folder or entry.name not in _AUTHORITIES)):
            seen.hidden.append(Path(entry.path))
        elif is_folder:
            seen.folders.append(Path(entry.path))
    return seen


def _is_plain(entry: os.DirEntry[str]) -> bool:
    """Whether it is a file, a folder or a link: a socket or a pipe leads to another program."""
    plain = entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)
    return plain or entry.is_symlink()


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # a file, gone, or not ours: nothing in it is shown either
        return []

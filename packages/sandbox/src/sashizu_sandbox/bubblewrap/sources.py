"""Opens what is to be shown, so that nobody can put a link in its place between look and mount.

Both the launcher and whoever describes a program to it use this module, so it knows only the
standard library and the kernel.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from sashizu_sandbox.bubblewrap import kernel

__all__ = ["COVERED", "Expected", "Opened", "Source", "check_shown", "close_all", "open_sources"]

Expected = Literal["any", "folder", "file"]

COVERED = -1
"""Stands for the place in the arguments of what is covered rather than shown."""


class Source(NamedTuple):
    """Something that is shown or covered at `place`: `path` below `root`, `.` for `root` itself.

    `at` is where its option stands in the arguments of bubblewrap, or `COVERED`.
    """

    at: int
    root: str
    path: str
    place: str
    expected: Expected = "any"


class Opened(NamedTuple):
    """A source, and a descriptor that stands for it."""

    source: Source
    fd: int


def open_sources(described: Iterable[Sequence[object]]) -> list[Opened]:
    """Open sources beneath their roots, without following a symbolic link.

    Raises:
        OSError: one has become a link or another kind of file, or is gone.
    """
    roots: dict[str, int] = {}
    opened: list[Opened] = []
    try:
        for words in described:
            source = Source(*words)  # type: ignore[arg-type]
            if source.root not in roots:
                roots[source.root] = kernel.open_without_links(source.root)
            fd = _open_below(roots[source.root], source)
            opened.append(Opened(source, fd))
            _check_kind(fd, source)
    except OSError:
        close_all(opened)
        raise
    finally:
        for fd in roots.values():
            os.close(fd)
    return opened


def close_all(opened: Iterable[Opened]) -> None:
    for each in opened:
        os.close(each.fd)


def _open_below(root: int, source: Source) -> int:
    if source.path == ".":
        return os.dup(root)
    try:
        return kernel.open_below(root, source.path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, source.place) from error


def _check_kind(fd: int, source: Source) -> None:
    folder = stat.S_ISDIR(os.fstat(fd).st_mode)
    if source.expected != "any" and folder != (source.expected == "folder"):
        raise OSError(f"{source.place!r} is no {source.expected} any more")


def check_shown(opened: Iterable[Opened], new_root: str) -> None:
    """Look whether what was mounted below `new_root` is what was opened.

    Raises:
        OSError: somewhere it is not, or what was to be covered is still there.
    """
    root = os.open(new_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for source, fd in opened:
            _check_one(root, source, fd)
    finally:
        os.close(root)


def _check_one(root: int, source: Source, fd: int) -> None:
    there = kernel.open_below(root, source.place.lstrip("/") or ".")
    try:
        same = os.path.samestat(os.fstat(there), os.fstat(fd))
    finally:
        with suppress(OSError):
            os.close(there)
    if same == (source.at == COVERED):
        raise OSError(f"{source.place!r} was replaced while the sandbox was made; nothing was run")

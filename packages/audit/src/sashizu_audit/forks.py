"""Writers over a fork: each child goes on as a writer of its own, none with half a line.

While a process forks, nobody writes.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["Forked", "survive_forks"]


class Forked(Protocol):
    """What has to know of a fork."""

    def before_fork(self) -> None: ...
    def after_fork(self) -> None: ...
    def become_child(self) -> None: ...


_all: WeakSet[Forked] = WeakSet()
_held: list[Forked] = []


def survive_forks(writer: Forked) -> None:
    """Tell it of every fork, for as long as it lives."""
    _all.add(writer)


def _before_fork() -> None:
    _held.extend(_all)
    for writer in _held:
        writer.before_fork()


def _after_fork_in_parent() -> None:
    for writer in _held:
        writer.after_fork()
    _held.clear()


def _after_fork_in_child() -> None:
    for writer in _held:
        writer.become_child()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )

"""A run as its record tells it, for whoever makes it again or goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

__all__ = ["RecordedRun"]


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """The events of one run, as columns to values, and the texts that they name.

    `events` are in the order of their writers, those of one writer together. `text` gives the text
    with a SHA-256, None where it is not kept (any more). `heads` has the number and the `h` of the
    last event of the run by writer. `alive` says that a process still writes to it; `problems` are
    sentences about what of it is not as it was written, empty where all of it is. `claimed` is a
    block in which nobody else goes on with the run; it gives the runs that went on with it before,
    oldest first, may block, and raises `UsageError` where another process is in it.
    """

    run_id: str
    events: Sequence[Mapping[str, Any]]
    text: Callable[[str], str | None]
    heads: Mapping[str, tuple[int, str]]
    alive: bool = False
    problems: tuple[str, ...] = ()
    claimed: Callable[[], AbstractContextManager[Sequence[str]]] = lambda: nullcontext(())

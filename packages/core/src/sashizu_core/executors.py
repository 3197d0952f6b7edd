"""Executors: who works at what a run hands over, and what such work may ask of them.

Work is an operation with a name and JSON values; it may be done by another process, on another
machine, and again after a crash. What it does beyond its steps has to bear that.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sashizu_core.errors import UsageError

__all__ = [
    "Executor",
    "ExecutorCaps",
    "Operation",
    "Work",
    "WorkContext",
    "WorkEvent",
    "WorkState",
    "WorkStatus",
    "as_json",
]

WorkState = Literal["waiting", "working", "ok", "error", "cancelled", "timeout"]
"""The last four are final."""

_FINAL = ("ok", "error", "cancelled", "timeout")


@dataclass(frozen=True, slots=True)
class ExecutorCaps:
    """What an executor can do.

    `durable` work outlasts the processes that work at it; `multi_node` says that it may be done on
    other machines.
    """

    durable: bool = False
    multi_node: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What is handed over. `key` names it for ever: the same key twice is one work.

    `operation` is the name of what is done, `payload` JSON values for it. `parent` is the key of
    the work that handed it over, empty for none: who cancels that cancels this as well. `labels`
    are what a worker needs to have; `deadline` is in Unix seconds, None for none.
    """

    key: str
    operation: str
    payload: Any = None
    parent: str = ""
    labels: frozenset[str] = frozenset()
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class WorkStatus:
    """How far a work is: `result` are its JSON values, `error` a sentence where it has none.

    `worker` says who works at it, or did last; empty where nobody has yet.
    """

    key: str
    state: WorkState
    result: Any = None
    error: str = ""
    worker: str = ""

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in _FINAL


@dataclass(frozen=True, slots=True)
class WorkEvent:
    """What a work told of its progress; the first of each has the number 1."""

    seq: int
    value: Any = field(default=None)


class WorkContext(Protocol):
    """What a work may ask of who runs it."""

    @property
    def work(self) -> Work: ...

    @property
    def attempt(self) -> int:
        """1, or how often it was begun: a crash in between is not seen otherwise."""
        ...

    async def step(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        """Make a call once, if nothing crashes; at least once if something does.

        The result, JSON values, is seen once it is stored; after a crash it is taken from there.
        Steps are told apart by their order: make them in the same order each time.

        Raises:
            UsageError: the result is no JSON.
        """
        ...

    async def parallel(
        self, calls: Sequence[tuple[str, Callable[[], Awaitable[Any]]]]
    ) -> list[Any]:
        """Make several steps at once, numbered in the order given; so are the results."""
        ...

    async def tell(self, value: Any) -> None:
        """Tell of progress, in JSON values; after a crash it may be told again."""
        ...

    async def signalled(self, name: str, timeout_s: float | None = None) -> Any | None:
        """Wait for the next signal of that name and return its payload; None when time is over."""
        ...

    async def submit(self, work: Work) -> None:
        """Hand over work beneath this one; what has the key already is attached to."""
        ...

    async def ended(self, key: str) -> WorkStatus:
        """Wait until work that was handed over from here has ended."""
        ...


Operation = Callable[[WorkContext], Awaitable[Any]]
"""Does the work of a context and returns JSON values."""


class Executor(Protocol):
    """Takes work, and tells what becomes of it."""

    @property
    def caps(self) -> ExecutorCaps: ...

    async def submit(self, work: Work) -> None:
        """Take work; on return it is taken for good. The same key twice is one work.

        Raises:
            UsageError: nobody knows the operation, or the payload is no JSON.
        """
        ...

    async def status(self, key: str) -> WorkStatus:
        """How far it is.

        Raises:
            UsageError: there is no such work.
        """
        ...

    def events(self, key: str, after: int = 0) -> AsyncGenerator[WorkEvent]:
        """What it told after that number, as it comes, until it has ended.

        Raises:
            UsageError: there is no such work.
        """
        ...

    async def signal(self, key: str, name: str, payload: Any, *, idem: str) -> None:
        """Send something to a work; the same `idem` twice is one signal.

        Raises:
            UsageError: there is no such work.
        """
        ...

    async def cancel(self, key: str, *, reason: str = "") -> None:
        """Have a work end, and all beneath it; what has ended stays as it is.

        Raises:
            UsageError: there is no such work.
        """
        ...

    async def drain(self, timeout_s: float) -> bool:
        """Take no further work, and wait for what is at work; False when time was over before."""
        ...


def as_json(value: Any, what: str) -> Any:
    """The value as it is after it has travelled: JSON values only.

    Raises:
        UsageError: it is none; `what` says what it was to be.
    """
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"{what} has to be JSON: {error}") from None

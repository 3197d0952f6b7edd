"""The local executor: all work is done by tasks of this process, and ends with it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
from anyio.abc import TaskGroup

from sashizu_core.errors import UsageError
from sashizu_core.executors import (
    ExecutorCaps,
    Operation,
    Work,
    WorkContext,
    WorkEvent,
    WorkStatus,
    as_json,
)
from sashizu_core.runtime.at_hand import WorkAtHand, known_operation

__all__ = ["LocalExecutor", "local_executor"]

_WORKER = "local"


@dataclass(slots=True)
class _Known:
    """One work. `signals` are by name; `changed` is set, and made anew, with each change."""

    at_hand: WorkAtHand
    status: WorkStatus
    events: list[WorkEvent] = field(default_factory=list)
    signals: dict[str, list[Any]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    changed: anyio.Event = field(default_factory=anyio.Event)

    def change(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class LocalExecutor:
    """Does work in this process; opened by `local_executor`."""

    caps = ExecutorCaps()

    def __init__(self, operations: Mapping[str, Operation], group: TaskGroup) -> None:
        self._operations = operations
        self._group = group
        self._known: dict[str, _Known] = {}
        self._draining = False

    async def submit(self, work: Work) -> None:
        if work.key in self._known:
            return
        if self._draining:
            raise UsageError("no further work is taken: this executor is being drained")
        operation = known_operation(self._operations, work.operation)
        work = replace(work, payload=as_json(work.payload, f"the payload of {work.operation!r}"))
        known = _Known(WorkAtHand(work, _WORKER), WorkStatus(work.key, "waiting"))
        self._known[work.key] = known
        self._group.start_soon(self._work, operation, known)

    async def _work(self, operation: Operation, known: _Known) -> None:
        work = known.at_hand.work
        known.status = WorkStatus(work.key, "working", worker=_WORKER)
        known.change()
        context: WorkContext = _LocalContext(self, known)
        status = WorkStatus(work.key, "cancelled", error="the process ended", worker=_WORKER)
        try:
            status = await known.at_hand.done(operation, context)
        finally:
            known.status = status
            known.change()
            self._cancel_beneath(work.key, "the work above has ended")

    async def status(self, key: str) -> WorkStatus:
        return self._of(key).status

    async def events(self, key: str, after: int = 0) -> AsyncGenerator[WorkEvent]:
        known = self._of(key)
        while True:
            while after < len(known.events):
                after += 1
                yield known.events[after - 1]
            if known.status.final:
                return
            await known.changed.wait()

    async def signal(self, key: str, name: str, payload: Any, *, idem: str) -> None:
        known = self._of(key)
        if idem not in known.seen:
            known.seen.add(idem)
            payload = as_json(payload, f"the payload of the signal {name!r}")
            known.signals.setdefault(name, []).append(payload)
            known.change()

    async def cancel(self, key: str, *, reason: str = "") -> None:
        known = self._of(key)
        self._cancel_beneath(key, reason)
        known.at_hand.cancel(reason)

    async def drain(self, timeout_s: float) -> bool:
        self._draining = True
        with anyio.move_on_after(timeout_s):
            for known in list(self._known.values()):
                await self.ended(known.status.key)
            return True
        return False

    async def ended(self, key: str) -> WorkStatus:
        """Wait until a work has ended.

        Raises:
            UsageError: there is no such work.
        """
        known = self._of(key)
        while not known.status.final:
            await known.changed.wait()
        return known.status

    def _cancel_beneath(self, key: str, reason: str) -> None:
        for known in self._known.values():
            if known.at_hand.work.parent == key and not known.status.final:
                self._cancel_beneath(known.status.key, reason)
                known.at_hand.cancel(reason)

    def _of(self, key: str) -> _Known:
        if key not in self._known:
            raise UsageError(f"there is no work {key!r} here")
        return self._known[key]


class _LocalContext:
    """What a work in this process may ask: nothing of it outlasts the process."""

    attempt = 1

    def __init__(self, executor: LocalExecutor, known: _Known) -> None:
        self._executor = executor
        self._known = known

    @property
    def work(self) -> Work:
        return self._known.at_hand.work

    async def step(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        return as_json(await call(), f"the result of the step {name!r}")

    async def parallel(
        self, calls: Sequence[tuple[str, Callable[[], Awaitable[Any]]]]
    ) -> list[Any]:
        async with anyio.create_task_group() as group:
            handles = [group.create_task(self.step(name, call)) for name, call in calls]
        return [handle.return_value for handle in handles]

    async def tell(self, value: Any) -> None:
        known = self._known
        known.events.append(WorkEvent(len(known.events) + 1, as_json(value, "progress")))
        known.change()

    async def signalled(self, name: str, timeout_s: float | None = None) -> Any | None:
        known = self._known
        with anyio.move_on_after(timeout_s):
            while not known.signals.get(name):
                await known.changed.wait()
            return known.signals[name].pop(0)
        return None

    async def submit(self, work: Work) -> None:
        await self._executor.submit(replace(work, parent=self.work.key))

    async def ended(self, key: str) -> WorkStatus:
        return await self._executor.ended(key)


@asynccontextmanager
async def local_executor(operations: Mapping[str, Operation]) -> AsyncGenerator[LocalExecutor]:
    """An executor in this process; what is still at work when the block ends is cancelled."""
    async with anyio.create_task_group() as group:
        try:
            yield LocalExecutor(operations, group)
        finally:
            group.cancel_scope.cancel()

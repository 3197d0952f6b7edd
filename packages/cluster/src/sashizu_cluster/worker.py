"""A worker: begins what the engine gives it, watches it, stores what becomes of it."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn, TypeVar

import anyio
from anyio import to_thread
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.executors import Operation, Work, WorkContext, WorkStatus, as_json
from sashizu_core.runtime.at_hand import WorkAtHand, known_operation

from sashizu_cluster.board import Begun, WorkBoard, queue_of
from sashizu_cluster.engine import Engine, EngineClient, queues_for
from sashizu_cluster.errors import ClusterError, DatabaseGone
from sashizu_cluster.following import Following
from sashizu_cluster.journal import at_work
from sashizu_cluster.slots import LOOK_S, SlotLease, executor_of, namespace_of

__all__ = ["Worker", "WorkerPlan", "gone_at_once", "worker_name"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

WATCH_S = 0.25
"""How often it is looked whether works at hand are to end, in seconds."""

_RELAY_S = 2.0
"""How often it is looked for work that nobody does, in seconds."""

MOST_ATTEMPTS = 100
"""How often a work is begun at most: one that kills its workers must not kill them for ever."""

LOST = 75
"""The exit code of a worker that lost its slot: whoever started it starts it again."""


def worker_name() -> str:
    """What people call this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def gone_at_once(why: str) -> NoReturn:
    """End this process now: somebody else has its slot, or will have."""
    sys.stderr.write(f"sashizu worker: {why}; this worker ends now, and others go on\n")
    sys.stderr.flush()
    os._exit(LOST)


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What a worker is to do: `labels` it has, works it does `at_once`, for a `tenant`."""

    tenant: str
    labels: frozenset[str]
    at_once: int
    operations: Mapping[str, Operation]


@dataclass
class Worker:
    """A worker that holds a slot; `lost` is called when it holds it no more, from any thread."""

    plan: WorkerPlan
    lease: SlotLease
    board: WorkBoard
    engine: Engine
    client: EngineClient
    lost: Callable[[str], Any] = gone_at_once
    name: str = field(default_factory=worker_name)
    _at_hand: dict[str, WorkAtHand] = field(default_factory=dict)
    _idle: anyio.Event = field(default_factory=anyio.Event)
    _stopping: bool = False
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.following = Following(self.board.news)
        self._places = anyio.CapacityLimiter(self.plan.at_once)

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Work until cancelled, or until the slot is lost."""
        await _blocking(
            self.board.here, self.lease.slot, self.name, self.plan.labels, self.plan.at_once
        )
        threading.Thread(target=self._hold, name="slot lease", daemon=True).start()
        try:
            async with anyio.create_task_group() as group:
                for beside in (self.following.look, self._watch, self._relay):
                    group.start_soon(self.or_lost, beside)
                await self.or_lost(self._begin)
                ready()
        finally:
            self._ended.set()

    async def _begin(self) -> None:
        self.engine.launch(queues_for(self.plan.labels), self._do)
        await self.engine.serve(self.plan.labels, self.plan.at_once)

    async def or_lost(self, beside: Callable[[], Awaitable[None]]) -> None:
        """Do something beside the works; what it raises must not cancel them, but end all at once.

        To whoever goes on, a work that is cancelled has ended; one whose worker is gone has not.
        """
        try:
            await beside()
        except Exception as error:
            self.lost(f"{type(error).__name__}: {error}")
            raise

    async def finish(self, grace_s: float) -> bool:
        """Begin nothing more, and wait for what is at hand; False where time was over before."""
        self._stopping = True
        with anyio.move_on_after(grace_s):
            if self._at_hand:
                self._idle = anyio.Event()
                await self._idle.wait()
            return True
        return False

    @property
    def busy(self) -> int:
        """How many works are at hand."""
        return len(self._at_hand)

    # --- one work ---------------------------------------------------------------------------------

    async def _do(self, key: str) -> None:
        """What the engine's workflow does: one attempt at a work."""
        while self._stopping:  # whoever has the slot next begins it
            await anyio.sleep_forever()
        try:
            await self._attempt(key)
        except Exception as error:  # the engine would take the work for done, and nobody end it
            self.lost(f"how the work {key} ended could not be stored: {error}")
            raise

    async def _attempt(self, key: str) -> None:
        begun = await _blocking(self.board.begin, key, self.name)
        if begun is None or begun.state != "working":
            return
        at_hand = WorkAtHand(begun.work, self.name)
        if (status := self._over(begun)) is not None:
            await _blocking(self.board.end, begun.attempt, status)
            return
        self._at_hand[key] = at_hand
        token = at_work.set(key)
        try:
            context = _Context(self, begun.work, begun.attempt)
            status = await at_hand.done(self._operation(begun.work), context)
            await _blocking(self.board.end, begun.attempt, status)
        finally:
            at_work.reset(token)
            del self._at_hand[key]
            if not self._at_hand:
                self._idle.set()

    def _over(self, begun: Begun) -> WorkStatus | None:
        """How a work ends that is not to be gone on with."""
        if begun.cancelled is not None:
            return WorkStatus(begun.work.key, "cancelled", error=begun.cancelled, worker=self.name)
        if begun.attempt > MOST_ATTEMPTS:
            error = f"it was begun {MOST_ATTEMPTS} times, and no worker lived to its end"
            return WorkStatus(begun.work.key, "error", error=error, worker=self.name)
        return None

    def _operation(self, work: Work) -> Operation:
        """The operation of a work; where the record cannot be written the slot is given up."""
        place = self._places if work.parent else nullcontext()

        async def guarded(context: WorkContext) -> Any:
            operation = known_operation(self.plan.operations, work.operation)
            try:
                async with place:
                    return await operation(context)
            except DatabaseGone as error:
                self.lost(str(error))
                raise
            except RecordError as error:
                if isinstance(error.__cause__, DatabaseGone):
                    self.lost(str(error))
                raise

        return guarded

    # --- beside the works -------------------------------------------------------------------------

    def _hold(self) -> None:
        """Look whether the slot is still held; a thread, as a busy loop must not hide its loss."""
        while not self._ended.wait(LOOK_S):
            try:
                self.lease.check()
            except ClusterError as error:
                if not self._ended.is_set():
                    self.lost(f"the slot {self.lease.slot} is lost: {error}")
                return

    async def _watch(self) -> None:
        """Cancel works that somebody wants to end."""
        while True:
            await anyio.sleep(WATCH_S)
            if not self._at_hand:
                continue
            try:
                news = await _blocking(self.board.news, list(self._at_hand))
            except DatabaseGone:  # the lease decides
                continue
            for key, each in news.items():
                at_hand = self._at_hand.get(key)
                if at_hand is not None and each.cancelled is not None:
                    at_hand.cancel(each.cancelled)

    async def _relay(self) -> None:
        """Hand work on that nobody does: of workers that are gone, and of submitters that are."""
        while True:
            try:
                await _blocking(self._relayed)
            except DatabaseGone:
                pass
            except ClusterError as error:
                logger.warning("what others left could not be handed on: %s", error)
            await anyio.sleep(_RELAY_S)

    def _relayed(self) -> None:
        for key, queue in self.board.unheard():
            self.client.enqueue(key, queue)
            self.board.enqueued(key)
        self.client.give_up(self.board.expire())
        for slot in self.board.gone(namespace_of(self.plan.tenant)):
            left = self.client.left_by(executor_of(self.plan.tenant, slot))
            if left and self.lease.try_other(slot):
                try:
                    left = self.client.left_by(executor_of(self.plan.tenant, slot))
                    for queue, keys in self.board.queues(left).items():
                        self.client.hand_on(keys, queue)
                finally:
                    self.lease.leave_other(slot)


class _Context:
    """What a work on a worker may ask."""

    def __init__(self, worker: Worker, work: Work, attempt: int) -> None:
        self._worker = worker
        self._work = work
        self._attempt = attempt
        self._heard: dict[str, int] = {}

    @property
    def work(self) -> Work:
        return self._work

    @property
    def attempt(self) -> int:
        return self._attempt

    async def step(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        worker = self._worker
        stored = await worker.engine.step(name, self._storing(name, call))
        return await _blocking(worker.board.unpacked, stored)

    async def parallel(
        self, calls: Sequence[tuple[str, Callable[[], Awaitable[Any]]]]
    ) -> list[Any]:
        worker = self._worker
        storing = [(name, self._storing(name, call)) for name, call in calls]
        stored = await worker.engine.parallel(storing, _together)
        return [await _blocking(worker.board.unpacked, each) for each in stored]

    def _storing(
        self, name: str, call: Callable[[], Awaitable[Any]]
    ) -> Callable[[], Awaitable[Any]]:
        async def stored() -> Any:
            value = as_json(await call(), f"the result of the step {name!r}")
            return await _blocking(self._worker.board.packed, value)

        return stored

    async def tell(self, value: Any) -> None:
        if not await _blocking(self._worker.board.tell, self._work.key, self._attempt, value):
            raise UsageError("another worker goes on with this work")

    async def signalled(self, name: str, timeout_s: float | None = None) -> Any | None:
        board, key = self._worker.board, self._work.key
        with anyio.move_on_after(timeout_s):
            while True:
                skip = self._heard.get(name, 0)
                found = await _blocking(board.signalled, key, name, skip)
                if found is not None:
                    self._heard[name] = skip + 1
                    return found[0]
                await anyio.sleep(WATCH_S)
        return None

    async def submit(self, work: Work) -> None:
        worker, own = self._worker, replace(work, parent=self._work.key)
        known_operation(worker.plan.operations, work.operation)
        if await _blocking(worker.board.submit, own):
            await _blocking(worker.client.enqueue, own.key, queue_of(own.labels, top=False))
            await _blocking(worker.board.enqueued, own.key)

    async def ended(self, key: str) -> WorkStatus:
        await self._worker.following.news(key, 0, ended=True)
        return await _blocking(self._worker.board.status, key)


async def _together(calls: Sequence[Callable[[], Awaitable[Any]]]) -> list[Any]:
    async def one(call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    async with anyio.create_task_group() as group:
        handles = [group.create_task(one(call)) for call in calls]
    return [handle.return_value for handle in handles]


async def _blocking(call: Callable[..., T], *values: Any) -> T:
    return await to_thread.run_sync(partial(call, *values))

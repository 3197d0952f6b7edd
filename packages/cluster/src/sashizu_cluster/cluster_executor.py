"""The executor of who hands over: nothing of the work is done in its process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio import to_thread
from sashizu_core.errors import UsageError
from sashizu_core.executors import ExecutorCaps, Operation, Work, WorkEvent, WorkStatus
from sashizu_core.runtime.at_hand import known_operation

from sashizu_cluster.board import WorkBoard, queue_of
from sashizu_cluster.engine import EngineClient
from sashizu_cluster.errors import ClusterError, DatabaseGone
from sashizu_cluster.following import Following

__all__ = ["ClusterExecutor", "cluster_executor"]

T = TypeVar("T")

_EXPIRE_S = 1.0
"""How often it is looked for work whose deadline has passed, in seconds."""

_PATIENCE_S = 60.0
"""How long a server may be away before who waits for work hears of it, in seconds."""

_AGAIN_S = (0.2, 2.0)
"""How long it is until it is asked again: at first, and at most, in seconds."""

_DRAIN_S = 0.25
"""How often who drains looks, in seconds."""


class ClusterExecutor:
    """Hands work to the workers of a cluster; opened by `cluster_executor`."""

    caps = ExecutorCaps(durable=True, multi_node=True)

    def __init__(
        self,
        board: WorkBoard,
        engine: EngineClient,
        following: Following,
        operations: Mapping[str, Operation],
    ) -> None:
        self._board = board
        self._engine = engine
        self._following = following
        self._operations = operations

    async def submit(self, work: Work) -> None:
        known_operation(self._operations, work.operation)
        if await _blocking(self._board.submit, work):
            with suppress(DatabaseGone):  # it is taken: workers hand on what the engine missed
                await _blocking(self._engine.enqueue, work.key, queue_of(work.labels, top=True))
                await _blocking(self._board.enqueued, work.key)

    async def status(self, key: str) -> WorkStatus:
        return await _blocking(self._board.status, key)

    async def events(self, key: str, after: int = 0) -> AsyncGenerator[WorkEvent]:
        await _blocking(self._board.status, key)
        while True:
            news = await self._following.news(key, after)
            if news is None:
                raise _forgotten(key)
            while news.told > after:
                told = await _blocking(self._board.events, key, after)
                if not told:
                    raise _forgotten(key)
                for event in told:
                    after = event.seq
                    yield event
            if news.final:
                return

    async def signal(self, key: str, name: str, payload: Any, *, idem: str) -> None:
        await _blocking(self._board.signal, key, name, payload, idem)

    async def cancel(self, key: str, *, reason: str = "") -> None:
        ended = await _blocking(self._board.cancel, key, reason)
        await _blocking(self._engine.give_up, ended)

    async def expire(self) -> None:
        """End what waits beyond its deadline, until cancelled: there may be no worker to do it."""
        while True:
            with suppress(ClusterError):
                ended = await _blocking(self._board.expire)
                await _blocking(self._engine.give_up, ended)
            await anyio.sleep(_EXPIRE_S)

    async def drain(self, timeout_s: float) -> bool:
        await _blocking(partial(self._board.drain, draining=True))
        with anyio.move_on_after(timeout_s):
            while True:
                _, waiting, working = await _blocking(self._board.counts)
                if not waiting + working:
                    return True
                await anyio.sleep(_DRAIN_S)
        return False


def _forgotten(key: str) -> UsageError:
    return UsageError(f"the work {key!r} was forgotten meanwhile")


async def _blocking(call: Callable[..., T], *values: Any) -> T:
    """Make a call that may be made again; a server that is away is waited for."""
    wait_s, until = _AGAIN_S[0], anyio.current_time() + _PATIENCE_S
    while True:
        try:
            return await to_thread.run_sync(partial(call, *values))
        except DatabaseGone:
            if anyio.current_time() > until:
                raise
        await anyio.sleep(wait_s)
        wait_s = min(2 * wait_s, _AGAIN_S[1])


@asynccontextmanager
async def cluster_executor(
    board: WorkBoard,
    engine: Callable[[], EngineClient],
    operations: Mapping[str, Operation],
) -> AsyncGenerator[ClusterExecutor]:
    """The executor of a cluster that is set up; it waits for a server that is away for a while.

    Raises:
        ClusterError: the database cannot be reached, or refuses.
    """
    client = await to_thread.run_sync(engine)
    try:
        async with anyio.create_task_group() as group:
            following = Following(board.news)
            executor = ClusterExecutor(board, client, following, operations)
            group.start_soon(following.look)
            group.start_soon(executor.expire)
            try:
                yield executor
            finally:
                group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(client.close)

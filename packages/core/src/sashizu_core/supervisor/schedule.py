"""Runs steps as soon as what they wait for is done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Literal

import anyio

__all__ = ["Fate", "carry_out"]

Fate = Literal["done", "failed", "skipped"]
"""What became of a step; `skipped` was never started."""


async def carry_out(
    waits: Mapping[str, Collection[str]],
    work: Callable[[str], Awaitable[bool]],
    *,
    jobs: int,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Fate]:
    """Run every step, at most `jobs` at once, each as soon as all it waits for are done.

    `waits` names for each step the others it waits for, without a cycle. `work` says whether a step
    succeeded; what waits for one that did not is skipped, as is all that has not begun once
    `stopped` says so. What `work` raises cancels the others and is raised.
    """
    ended = {name: anyio.Event() for name in waits}
    fates: dict[str, Fate] = {}
    limiter = anyio.CapacityLimiter(jobs)

    async def one(name: str) -> None:
        for before in waits[name]:
            await ended[before].wait()
        fate: Fate = "skipped"
        if all(fates[before] == "done" for before in waits[name]):
            async with limiter:
                if not stopped():
                    fate = "done" if await work(name) else "failed"
        fates[name] = fate
        ended[name].set()

    async with anyio.create_task_group() as group:
        for name in waits:
            group.start_soon(one, name)
    return {name: fates[name] for name in waits}

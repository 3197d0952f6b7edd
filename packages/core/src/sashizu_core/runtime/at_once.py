"""Agents at work at once, as tasks of this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

from sashizu_core.types import AgentReport

__all__ = ["at_once"]


async def at_once(
    agents: Sequence[Callable[[], Awaitable[AgentReport]]], *, jobs: int
) -> list[AgentReport]:
    """Run all, at most `jobs` at once; reports in the order given.

    What an agent raises is a broken record: it cancels the others and is raised.
    """
    limiter = anyio.CapacityLimiter(jobs)

    async def one(agent: Callable[[], Awaitable[AgentReport]]) -> AgentReport:
        async with limiter:
            return await agent()

    async with anyio.create_task_group() as group:
        handles = [group.create_task(one(agent)) for agent in agents]
    return [handle.return_value for handle in handles]

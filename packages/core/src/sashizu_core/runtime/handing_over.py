"""A run whose agents work elsewhere: handed over, followed while somebody looks, never needed here.

Once it is handed over it goes on without this process; who ends it says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import time

import anyio

from sashizu_core.control import RunHandle
from sashizu_core.errors import SashizuError, UsageError, nearest
from sashizu_core.events import Event
from sashizu_core.executors import Executor, Work, WorkStatus
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.asked_elsewhere import answered, told_question
from sashizu_core.runtime.delegation import plans_of
from sashizu_core.runtime.handed_over import Workplace, operations_of
from sashizu_core.runtime.handed_run import RUN, handed_run
from sashizu_core.runtime.opened_run import sources_of
from sashizu_core.runtime.places import with_isolation
from sashizu_core.runtime.plain_report import run_report_from
from sashizu_core.runtime.telling import begun_work, told_events
from sashizu_core.specs import ExecutorSpec
from sashizu_core.types import RunReport

__all__ = ["hand_over"]

_LAST_S = 60.0
"""How long a cancelled run may take to end before nobody waits for it any more, in seconds."""

_RUN_LATE_S = 15.0
"""How long after its deadline a run may take to say so, in seconds."""


async def hand_over(asked: Asked) -> RunReport:
    """Have an executor run the agents, show what it tells, and return the report.

    Raises:
        UsageError: something is unknown, or cannot be done elsewhere.
        SashizuError: the run came to no report.
    """
    spec = _spec(asked)
    if asked.past is not None or asked.received is not None:
        raise UsageError(
            f"the executor {spec.name!r} runs 'delegate' and 'delegate-parallel': say "
            "-c run.executor=local for all else"
        )
    sources = sources_of(asked)
    plans = await with_isolation(
        plans_of(asked, sources), asked.registry, asked.root, asked=asked.isolation, jobs=1
    )
    deadline = _deadline(asked)
    labels = frozenset(asked.settings.run.labels)
    run = handed_run(asked, plans, sources.catalogue, labels=labels, deadline=deadline)
    late = None if deadline is None else deadline + _RUN_LATE_S
    work = Work(run.run_id, RUN, dict(run.values), labels=labels, deadline=late)
    async with spec.open(operations_of(Workplace(asked.registry))) as executor:
        await executor.submit(work)
        handle = RunHandle(asked.run_id, outlasts=executor.caps.durable)
        if asked.on_start is not None:
            asked.on_start(handle)
        status = await _followed(executor, asked, handle)
    if status.state != "ok":
        raise SashizuError(f"run {run.run_id} came to no report: {status.state}: {status.error}")
    return run_report_from(status.result)


def _spec(asked: Asked) -> ExecutorSpec:
    """Who does it.

    Raises:
        UsageError: nobody offers it; names the nearest.
    """
    name, executors = asked.settings.run.executor, asked.registry.executors
    if name in executors:
        return executors[name]
    known = sorted({"local", *executors})
    raise UsageError(
        f"unknown executor {name!r} in 'run.executor'{nearest(name, known)}; "
        f"known: {', '.join(known)}"
    )


def _deadline(asked: Asked) -> float | None:
    seconds = [each for each in (asked.deadline_s, asked.budget.seconds) if each is not None]
    return time() + min(seconds) if seconds else None


async def _followed(executor: Executor, asked: Asked, handle: RunHandle) -> WorkStatus:
    """Show what a run and its agents tell until it has ended, or is cancelled from here."""
    scope = anyio.CancelScope()
    handle.track(asked.run_id, scope)
    with scope:
        await _shown(executor, asked)
    if scope.cancelled_caught:
        await executor.cancel(asked.run_id, reason=handle.reason or "cancelled")
        with anyio.move_on_after(_LAST_S):
            async for event in executor.events(asked.run_id):
                del event
    return await executor.status(asked.run_id)


async def _shown(executor: Executor, asked: Asked) -> None:
    async with anyio.create_task_group() as group:

        async def follow(key: str) -> None:
            async with anyio.create_task_group() as asking:
                async for event in executor.events(key):
                    _show(asked, told_events(event))
                    for begun in begun_work(event):
                        group.start_soon(follow, begun)
                    told = told_question(event)
                    if told is not None and asked.approver is not None:
                        asking.start_soon(answered, executor, key, *told, asked.approver)
                asking.cancel_scope.cancel()  # nobody waits for these answers any more

        await follow(asked.run_id)


def _show(asked: Asked, events: Sequence[Event]) -> None:
    for sink in asked.sinks if events else ():
        with suppress(OSError):
            sink.write(events)

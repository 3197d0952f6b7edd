"""The beginning and the end of a run: recorded whatever happens in between, and in time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import anyio

from sashizu_core.control import RunHandle
from sashizu_core.events import Event
from sashizu_core.runtime.agent_events import counted_limits
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.run_parts import RunParts
from sashizu_core.turn.steps import LAST_WORDS_S
from sashizu_core.turn.windows import nearly_used_up, window_text
from sashizu_core.types import Amount, RunReport

__all__ = ["RunStatus", "bracketed", "deadline", "run_status", "sandbox_events"]


@dataclass(slots=True)
class RunStatus:
    """How a run ended, once that is known."""

    text: str = "error"


@asynccontextmanager
async def bracketed(
    asked: Asked,
    plans: Sequence[AgentPlan],
    parts: RunParts,
    about: Mapping[str, Any] | None = None,
) -> AsyncIterator[RunStatus]:
    """Record the beginning of the run, and its end whatever happens; `about` are more `attrs`.

    What happens below a run of another process is part of that one.
    """
    recorder = parts.recorder
    if asked.received is not None:
        async with _part(parts) as part:
            yield part
        return
    fields: dict[str, Any] = {
        "op": "invoke_workflow",
        "attrs": {
            "agents": [task.agent for task in asked.tasks],
            "jobs": asked.jobs,
            "isolation": [plan.isolation for plan in plans],
            **(about or {}),
            **(asked.past.link if asked.past is not None else {}),
        },
    }
    if parts.root is not None:
        fields |= {"budget_id": parts.root.node_id, "budget_unit": "tokens"}
        if asked.budget.tokens is not None:
            fields["budget_limit"] = asked.budget.tokens
        fields["attrs"]["limits"] = counted_limits(asked.budget)
    if parts.document:
        fields |= recorder.keep(parts.document)
    begun = [recorder.event("run.started", fields), *sandbox_events(parts), *_window_events(parts)]
    await recorder.record(begun)
    started, status = monotonic(), RunStatus()
    try:
        yield status
    except anyio.get_cancelled_exc_class():
        status.text = "cancelled"
        raise
    finally:
        spent = parts.root.close().spent if parts.root is not None else Amount()
        ended = {
            "op": "invoke_workflow",
            "status": status.text,
            "duration_ns": int((monotonic() - started) * 1e9),
            "budget_spent": spent.tokens,
            "attrs": {"nusd": spent.nusd, "requests": spent.requests, "agents": spent.agents},
        }
        with anyio.move_on_after(LAST_WORDS_S, shield=True):
            await recorder.record([recorder.event("run.ended", ended)])


@asynccontextmanager
async def _part(parts: RunParts) -> AsyncIterator[RunStatus]:
    events = sandbox_events(parts)
    if events:
        await parts.recorder.record(events)
    try:
        yield RunStatus()
    finally:
        if parts.root is not None:
            parts.root.close()


def sandbox_events(parts: RunParts) -> list[Event]:
    """What holds the programs of the run, if it may start any."""
    if parts.sandbox is None:
        return []
    info = parts.sandbox.info
    fields = {
        "status": info.kind,
        "severity": "info" if info.kind == "enforced" else "warning",
        "category": "sandbox",
        "attrs": {"sandbox": info.name, "reason": info.reason},
    }
    return [parts.recorder.event("security.sandbox", fields)]


def _window_events(parts: RunParts) -> list[Event]:
    """The windows of spend that are nearly used up as the run begins."""
    return [
        parts.recorder.event(
            "budget.degraded",
            {
                "budget_unit": unit,
                "budget_spent": getattr(window.spent, unit),
                "budget_limit": getattr(window.limits, unit),
                "attrs": {
                    "how": "window",
                    "window": window.name,
                    "share": round(share, 4),
                    "left": {unit: window.left(unit)},
                    "told": window_text(window, unit),
                },
            },
        )
        for window, unit, share in nearly_used_up(parts.windows, parts.warn_at)
    ]


@asynccontextmanager
async def deadline(asked: Asked, handle: RunHandle) -> AsyncIterator[None]:
    """End all agents when the run's time is over; queued ones too."""
    limits = [s for s in (asked.deadline_s, asked.budget.seconds) if s is not None]
    if not limits:
        yield
        return

    async def watch(seconds: float) -> None:
        await anyio.sleep(seconds)
        handle.expire(f"the run's deadline of {seconds:g} s has passed")

    now = anyio.current_time()
    handle.clock = (now, now + min(limits))
    async with anyio.create_task_group() as group:
        group.start_soon(watch, min(limits))
        yield
        group.cancel_scope.cancel()


def run_status(report: RunReport, handle: RunHandle) -> str:
    """`ok` if every agent is, else why not."""
    if report.success_count == len(report.results):
        return "ok"
    if handle.expired:
        return "timeout"
    return "cancelled" if handle.reason else "error"

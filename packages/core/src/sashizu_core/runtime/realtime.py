"""Requests that are answered in time or not at all, as one run: each an agent instance of its own.

An instance has no tools and makes one model call, so that nothing waits for a disk. One request is
at work at a time, and at most two wait: what comes meanwhile is dropped at once, because an answer
that comes late is worth nothing.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Callable
from dataclasses import dataclass, replace
from functools import partial
from time import monotonic
from typing import Any, Literal

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from sashizu_core.errors import UsageError
from sashizu_core.ids import AgentId, RunId
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.asked import Asked, asked_by
from sashizu_core.runtime.conducting import Conductor, conducting
from sashizu_core.runtime.opened_run import guarded, sources_of
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.redacting import redacted_report
from sashizu_core.types import AgentReport, BudgetState, Outcome, Task

__all__ = ["MOST_WAITING", "Answered", "Asking", "Latencies", "Summary", "answer_in_time"]

MOST_WAITING = 2
"""Requests that wait while another is at work."""

Status = Literal["ok", "late", "dropped", "failed"]


@dataclass(frozen=True, slots=True)
class Asking:
    """A request. `id` is the caller's own; `received_s` is `time.monotonic()` when it came."""

    id: str | int
    prompt: str
    received_s: float


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a request; `ms` is how long after it came that was clear, in milliseconds.

    `late`: there was no answer in time. `dropped`: too many waited, and nothing was done or spent.
    `failed`: `error` is the outcome of its agent in a word. `reason` says why, for a person.
    """

    id: str | int
    status: Status
    ms: float
    answer: str = ""
    error: str = ""
    reason: str = ""
    agent_id: AgentId | None = None


class Latencies:
    """Times in milliseconds, kept to one per cent, so that a long stream takes no more memory."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, ms: float) -> None:
        bucket = math.floor(math.log(max(ms, 1e-3)) / _STEP)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1

    def percentile(self, share: float) -> float | None:
        """The time that this share of all, from 0 to 1, did not exceed; None where there are none.

        It is never below the true one, and at most one per cent above.
        """
        left = math.ceil(share * sum(self._counts.values()))
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                return math.exp((bucket + 1) * _STEP)
        return None


_STEP = math.log(1.01)


@dataclass(slots=True)
class Summary:
    """What became of all requests. Times are of those that were worked on, in milliseconds.

    `stopped` is why the run ended before its requests did, empty if it did not; `expired` says that
    its own time was over.
    """

    run_id: RunId
    target_ms: float
    ok: int = 0
    late: int = 0
    dropped: int = 0
    failed: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None
    stopped: str = ""
    expired: bool = False
    budget: BudgetState | None = None

    @property
    def requests(self) -> int:
        return self.ok + self.late + self.dropped + self.failed

    @property
    def missed(self) -> int:
        """Requests without an answer in time."""
        return self.late + self.dropped


async def answer_in_time(
    requests: AsyncIterable[Asking],
    tell: Callable[[Answered], None],
    *,
    agent: str,
    target_s: float,
    **options: Any,
) -> Summary:
    """Answer requests as they come, each within `target_s` seconds of `received_s`.

    Args:
        requests: asked for the next one also while another is at work. It ends the run by ending.
        tell: called once for each request, in the order in which that became clear.
        agent: the name of the agent that answers, without its tools.
        target_s: seconds; the agent of a request that takes longer is stopped.
        options: what `delegate_parallel` takes besides tasks; `isolation` is none.

    Raises:
        UsageError: `target_s` is not above 0, the model is an engine, or something asked for does
            not exist.
        MissingPackage: a budget or a durable record is asked for and its package is absent.
        RecordError: the record cannot be written.
    """
    if not (target_s > 0 and math.isfinite(target_s)):
        raise UsageError(f"the time to answer in has to be above 0 seconds, not {target_s!r}")
    asked = asked_by([Task(agent)], **{**options, "isolation": "none"})
    return await guarded(asked, partial(_answered, requests, tell, target_s))


async def _answered(
    requests: AsyncIterable[Asking],
    tell: Callable[[Answered], None],
    target_s: float,
    asked: Asked,
    redactor: Redactor,
) -> Summary:
    about = {"realtime": {"target_ms": target_s * 1000}}
    async with conducting(asked, sources_of(asked), redactor, about=about) as conductor:
        serving = _Serving(conductor, tell, target_s)
        await serving.serve(requests)
        conductor.ok = not conductor.stopped
        return serving.concluded(redactor)


class _Serving:
    """One stream of requests."""

    def __init__(
        self, conductor: Conductor, tell: Callable[[Answered], None], target_s: float
    ) -> None:
        plan = conductor.first[0]
        if plan.engine:
            raise UsageError(
                f"{plan.model!r} is a program that does the whole work of an agent: "
                "requests in real time take one call of a model"
            )
        grants = replace(plan.grants, tools=frozenset())
        self._plan = replace(plan, tools={}, served=(), grants=grants)
        self._conductor = conductor
        self._tell = tell
        self._target_s = target_s
        self._latencies = Latencies()
        self._summary = Summary(conductor.parts.run_id, target_s * 1000)

    async def serve(self, requests: AsyncIterable[Asking]) -> None:
        """Until there are no more, or the run is stopped."""
        send, receive = anyio.create_memory_object_stream[Asking](MOST_WAITING)
        async with anyio.create_task_group() as group:
            group.start_soon(self._work, receive)
            await self._take(requests, send)

    def concluded(self, redactor: Redactor) -> Summary:
        found = self._summary
        found.p50_ms = self._latencies.percentile(0.5)
        found.p99_ms = self._latencies.percentile(0.99)
        found.stopped = redactor.text(self._conductor.stopped)
        found.expired = self._conductor.parts.handle.expired
        node = self._conductor.budget
        found.budget = node.state() if node is not None else None
        return found

    async def _take(
        self, requests: AsyncIterable[Asking], send: MemoryObjectSendStream[Asking]
    ) -> None:
        """Have requests wait, or drop them; ends when the run is stopped, too."""
        handle = self._conductor.parts.handle
        async with send:
            with anyio.CancelScope() as scope:
                handle.track(_READING, scope)
                async for request in requests:
                    try:
                        send.send_nowait(request)
                    except anyio.WouldBlock:
                        reason = f"{MOST_WAITING} requests waited already"
                        self._told(request, "dropped", reason=reason)
            handle.untrack(_READING)

    async def _work(self, receive: MemoryObjectReceiveStream[Asking]) -> None:
        async with receive:
            async for request in receive:
                await self._one(request)

    async def _one(self, request: Asking) -> None:
        left = request.received_s + self._target_s - monotonic()
        if left <= 0:
            self._told(request, "late", reason="its time was over before it was its turn")
            return
        if self._conductor.stopped:
            self._told(request, "dropped", reason=self._conductor.stopped)
            return
        report = await self._report(self._plan_of(request, left))
        answered_in_time = monotonic() <= request.received_s + self._target_s
        about: dict[str, Any] = {"agent_id": report.agent_id}
        if report.ok and answered_in_time:
            self._told(request, "ok", answer=report.answer, **about)
        elif report.ok or report.outcome is Outcome.DEADLINE:
            self._told(request, "late", reason="there was no answer in time", **about)
        else:
            why = {"error": report.outcome.value, "reason": report.error}
            self._told(request, "failed", **why, **about)

    def _plan_of(self, request: Asking, left: float) -> AgentPlan:
        plan = self._plan
        seconds = left if plan.deadline_s is None else min(left, plan.deadline_s)
        return replace(plan, task=replace(plan.task, goal=request.prompt), deadline_s=seconds)

    async def _report(self, plan: AgentPlan) -> AgentReport:
        conductor = self._conductor
        instance = await conductor.instance(plan)
        report = await conductor.work(instance)
        conductor.forget(instance)
        return redacted_report(report, conductor.parts.recorder.redactor)

    def _told(self, request: Asking, status: Status, **about: Any) -> None:
        ms = (monotonic() - request.received_s) * 1000
        setattr(self._summary, status, getattr(self._summary, status) + 1)
        if "agent_id" in about:
            self._latencies.add(ms)
        self._tell(Answered(request.id, status, ms, **about))


_READING = "reading"
"""What the reader of requests is known by to those who stop a run; no id of an agent."""

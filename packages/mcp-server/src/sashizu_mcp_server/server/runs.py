"""The runs that clients of this server started: waited for, polled, cancelled, and remembered."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Literal

import anyio
from anyio.abc import TaskGroup
from sashizu_core.control import RunHandle
from sashizu_core.errors import SashizuError, UsageError, nearest
from sashizu_core.ids import RunId, new_run_id
from sashizu_core.runtime.bracket import run_status
from sashizu_core.types import RunReport

from sashizu_mcp_server.server.caller import Caller
from sashizu_mcp_server.server.results import RunReported, RunState, reported

__all__ = ["Finished", "Run", "RunBook", "Start"]

logger = logging.getLogger(__name__)

MOST_ALIVE = 64
"""Runs of one server that are at work at once."""

MOST_REMEMBERED = 500
"""Runs whose reports are kept in memory."""

TELL_S = 1.0
"""How often who waits for a run hears of it, in seconds."""

Status = Literal["running", "ok", "error", "timeout", "cancelled"]


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run came to. `answer` and `details` are for runs that are more than their agents."""

    report: RunReport
    answer: str = ""
    details: dict[str, Any] | None = None
    ok: bool | None = None


Start = Callable[[RunId, Callable[[RunHandle], None]], Awaitable[Finished]]
"""Makes a run of that id, calls back with its handle once it is at work, and finishes it."""


@dataclass
class Run:
    """One run. `error` says why there is no report though it has ended."""

    run_id: RunId
    agents: tuple[str, ...]
    started: float
    status: Status = "running"
    ended: float | None = None
    finished: Finished | None = None
    error: SashizuError | None = None
    handle: RunHandle | None = None
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    begun: anyio.Event = field(default_factory=anyio.Event)
    done: anyio.Event = field(default_factory=anyio.Event)

    @property
    def seconds(self) -> float:
        return round((monotonic() if self.ended is None else self.ended) - self.started, 3)

    def cancel(self, reason: str) -> None:
        """End every agent of it with a report; it is over when `done` is set."""
        if self.handle is not None:
            self.handle.cancel(reason)
        else:
            self.scope.cancel()

    def state(self) -> RunState:
        """What can be told of it now."""
        working = ()
        if self.handle is not None and not self.done.is_set():
            working = tuple(self.handle.snapshot().get("agent_states", ()))
        return RunState(
            run_id=self.run_id,
            status=self.status,
            agents=self.agents,
            seconds=self.seconds,
            working=working,
        )

    def reported(self) -> RunReported:
        """Its report, or that there is none yet."""
        if (found := self.finished) is not None:
            return reported(found.report, self.status, found.answer, found.details)
        return RunReported(
            run_id=self.run_id,
            status=self.status,
            results=(),
            tokens=0,
            duration_s=self.seconds,
            budget=None,
            warnings=(),
            error=str(self.error) if self.error is not None else "",
            answer="",
            details=None,
        )


class RunBook:
    """The runs of one server. They belong to `group`, and outlive the calls that began them."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._runs: dict[str, Run] = {}

    def __iter__(self) -> Iterator[Run]:
        """All that are remembered, oldest first."""
        return iter(tuple(self._runs.values()))

    @property
    def alive(self) -> int:
        """How many are at work."""
        return sum(not run.done.is_set() for run in self._runs.values())

    def get(self, run_id: str) -> Run:
        """A run by its id or the beginning of it.

        Raises:
            UsageError: this server started none, or several, of that id.
        """
        found = [run for key, run in self._runs.items() if key.startswith(run_id)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{run_id!r} names {len(found)} runs; give the whole id")
        raise UsageError(
            f"this server started no run {run_id!r}{nearest(run_id, self._runs)}; "
            "`run_status` without a run_id lists those it did"
        )

    async def start(self, agents: Sequence[str], start: Start) -> Run:
        """Begin a run, and return when it is at work or has ended.

        Who is cancelled meanwhile cancels it.

        Raises:
            UsageError: too many are at work.
            SashizuError: it could not begin.
        """
        if self.alive >= MOST_ALIVE:
            raise UsageError(
                f"{MOST_ALIVE} runs are at work on this server, and it takes no more; "
                "wait for one, or cancel one"
            )
        run = Run(new_run_id(), tuple(agents), monotonic())
        self._runs[run.run_id] = run
        self._forget()
        self._group.start_soon(self._work, run, start)
        try:
            await run.begun.wait()
        except anyio.get_cancelled_exc_class():
            run.cancel("cancelled by the MCP client")
            raise
        if run.handle is None and run.error is not None:
            del self._runs[run.run_id]
            raise run.error
        return run

    async def finish(self, run: Run, caller: Caller) -> None:
        """Wait for the end of a run, and tell the caller meanwhile; cancelled, it cancels the run.

        The run has ended, with a report, when this returns or raises.
        """
        try:
            await self.watch(run, caller)
        except anyio.get_cancelled_exc_class():
            run.cancel("cancelled by the MCP client")
            raise

    async def watch(self, run: Run, caller: Caller) -> None:
        """Wait for the end of a run, and tell the caller meanwhile; cancelled, it goes on."""
        async with anyio.create_task_group() as group:
            group.start_soon(_tell, run, caller)
            await run.done.wait()
            group.cancel_scope.cancel()

    def cancel_all(self, reason: str) -> None:
        """End every run."""
        for run in self:
            if not run.done.is_set():
                run.cancel(reason)

    async def _work(self, run: Run, start: Start) -> None:
        def begun(handle: RunHandle) -> None:
            run.handle = handle
            run.begun.set()

        try:
            with run.scope:
                run.finished = await start(run.run_id, begun)
        except SashizuError as error:
            run.error = error
        except Exception as error:
            logger.exception("the run %s ended by an error that nobody expected", run.run_id)
            run.error = SashizuError(f"unexpected {type(error).__name__}: {error}")
        finally:
            run.status = _status(run)
            run.ended = monotonic()
            run.begun.set()
            run.done.set()

    def _forget(self) -> None:
        for run_id in [key for key, run in self._runs.items() if run.done.is_set()]:
            if len(self._runs) <= MOST_REMEMBERED:
                return
            del self._runs[run_id]


def _status(run: Run) -> Status:
    if run.finished is None:
        return "error" if run.error is not None else "cancelled"
    handle = run.handle if run.handle is not None else RunHandle(run.run_id)
    if run.finished.ok:
        return "ok"
    match run_status(run.finished.report, handle):
        case "ok" if run.finished.ok is False:
            return "error"
        case "ok":
            return "ok"
        case "timeout":
            return "timeout"
        case "cancelled":
            return "cancelled"
        case _:
            return "error"


async def _tell(run: Run, caller: Caller) -> None:
    while True:
        await caller.progress(run.seconds, _line(run))
        await anyio.sleep(TELL_S)


def _line(run: Run) -> str:
    """What every agent does, in one line."""
    parts = []
    for state in run.state().working[:10]:
        tool = f" ({state['tool']})" if state.get("tool") else ""
        parts.append(f"{state['agent']}: {state['state']}, step {state['step']}{tool}")
    return "; ".join(parts) or f"{len(run.agents)} agents begin"

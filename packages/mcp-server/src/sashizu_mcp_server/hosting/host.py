"""Keeps processes ready for agents that are about to begin, and has each do one agent's work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from pydantic import ValidationError
from sashizu_core.errors import SashizuError
from sashizu_core.hosts import AgentHost, HostedWork
from sashizu_core.protocols import Approver
from sashizu_core.settings import Settings
from sashizu_core.types import AgentReport

from sashizu_mcp_server.hosting.process import AgentProcess, agent_process
from sashizu_mcp_server.server.leased import REPORTS, STOP, WORK, work_of

__all__ = ["ProcessHost", "open_host"]

LAST_REPORT_S = 8.0
"""How long a process may take to report once it was told to stop, in seconds."""

START_S = 60.0
"""How long a process may take until it can work, in seconds."""

GONE_S = 6.0
"""How long it may take to end, in seconds."""


class _Ready:
    """A process that was started before its agent began.

    `here` is set when it can work or cannot be had, `done` by whoever had it, `gone` at its end.
    """

    def __init__(self) -> None:
        self.here = anyio.Event()
        self.done = anyio.Event()
        self.gone = anyio.Event()
        self.process: AgentProcess | None = None
        self.error: SashizuError | None = None

    @property
    def lost(self) -> bool:
        """Whether it ended before anybody had it."""
        return self.gone.is_set() or (self.process is not None and self.process.ended)

    async def keep(self, root: Path, settings: Settings) -> None:
        """Have it until it is done with. What goes wrong with it harms nobody else."""
        try:
            async with agent_process(root) as process:
                with anyio.fail_after(START_S):
                    await process.greet(settings)
                self.process = process
                self.here.set()
                await self.done.wait()
        except BaseExceptionGroup as group:
            faults, others = group.split(Exception)
            if others is not None:
                raise
            self.error = _first_of(faults)
        except Exception as error:  # noqa: BLE001 - told to the agent that would have had it
            self.error = _told(error)
        finally:
            self.here.set()
            self.gone.set()


def _first_of(group: BaseException | None) -> SashizuError:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return _told(group)


def _told(error: BaseException | None) -> SashizuError:
    if isinstance(error, SashizuError):
        return error
    if isinstance(error, TimeoutError):
        return SashizuError(f"the process of the agent was not ready within {START_S:g} s")
    return SashizuError(f"the process of the agent failed: {type(error).__name__}: {error}")


class ProcessHost:
    """Starts servers of our own, each for one agent; see `AgentHost`."""

    def __init__(self, root: Path, settings: Settings, group: TaskGroup) -> None:
        self._root = root
        self._settings = settings
        self._group = group
        self._ready: list[_Ready] = []

    async def expect(self, count: int) -> None:
        """Have as many processes ready; they start while others work."""
        await anyio.lowlevel.checkpoint()
        while len(self._ready) < count:
            self._ready.append(self._started())

    async def run(
        self, work: HostedWork, stop: anyio.Event, approver: Approver | None
    ) -> AgentReport:
        """Have a process do the work; see `AgentHost.run`."""
        ready = self._next()
        try:
            await _first(ready.here, stop)
            if ready.process is None:
                raise ready.error or SashizuError("the process of the agent had not begun")
            ready.process.approver = approver
            return await _worked(ready.process, work, stop)
        except SashizuError:
            ready.done.set()
            with anyio.move_on_after(GONE_S):
                await ready.gone.wait()  # what it wrote is only whole when it has ended
            raise
        finally:
            ready.done.set()

    def _next(self) -> _Ready:
        while self._ready:
            ready = self._ready.pop(0)
            if not ready.lost:
                return ready
        return self._started()

    def _started(self) -> _Ready:
        ready = _Ready()
        self._group.start_soon(ready.keep, self._root, self._settings)
        return ready


async def _first(*events: anyio.Event) -> None:
    """Wait until one of them is set."""
    async with anyio.create_task_group() as group:

        async def one(event: anyio.Event) -> None:
            await event.wait()
            group.cancel_scope.cancel()

        for event in events:
            group.start_soon(one, event)


async def _worked(process: AgentProcess, work: HostedWork, stop: anyio.Event) -> AgentReport:
    found: list[AgentReport] = []
    failed: SashizuError | None = None

    async def stopped() -> None:
        await stop.wait()
        limit.deadline = anyio.current_time() + LAST_REPORT_S
        with suppress(SashizuError):  # it has ended: so has the call that is waited for
            await process.call(STOP, {}, {})

    arguments = work_of(work).model_dump(mode="json", exclude_defaults=True)
    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as limit:
            group.start_soon(stopped)
            try:
                content = await process.call(WORK, arguments, work.handoff.to_meta())
                found.append(REPORTS.validate_python(content.get("report"), strict=False))
            except SashizuError as error:
                failed = error
            except ValidationError as error:
                failed = SashizuError(f"the process of the agent gave no report: {error}")
        group.cancel_scope.cancel()
    if not found:
        process.kill()
        raise failed or SashizuError("the process of the agent did not end in time, and was ended")
    return found[0]


@asynccontextmanager
async def open_host(root: Path, settings: Settings) -> AsyncIterator[AgentHost]:
    """Processes for the agents of one run; all have ended when the block is left."""
    async with anyio.create_task_group() as group:
        host = ProcessHost(root, settings, group)
        try:
            yield host
        finally:
            group.cancel_scope.cancel()

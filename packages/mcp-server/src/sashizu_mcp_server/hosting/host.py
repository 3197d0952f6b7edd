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


class _Ready:
    """A process that was started before its agent began. `taken` once one has it."""

    def __init__(self) -> None:
        self.here = anyio.Event()
        self.done = anyio.Event()
        self.process: AgentProcess | None = None
        self.error: SashizuError | None = None

    async def keep(self, root: Path, settings: Settings) -> None:
        try:
            async with agent_process(root) as process:
                await process.greet(settings)
                self.process = process
                self.here.set()
                await self.done.wait()
        except SashizuError as error:
            self.error = error
        finally:
            self.here.set()


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
        ready = self._ready.pop(0) if self._ready else self._started()
        try:
            await ready.here.wait()
            if ready.process is None:
                raise ready.error or SashizuError("the process of the agent ended")
            ready.process.approver = approver
            return await _worked(ready.process, work, stop)
        finally:
            ready.done.set()

    def _started(self) -> _Ready:
        ready = _Ready()
        self._group.start_soon(ready.keep, self._root, self._settings)
        return ready


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

"""Agents at work in processes of their own: what is handed to such a process, and who starts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import anyio

from sashizu_core.handoff import Handoff
from sashizu_core.protocols import Approver
from sashizu_core.types import AgentReport, Task

__all__ = ["AgentHost", "HostedWork"]


@dataclass(frozen=True, slots=True)
class HostedWork:
    """One agent instance, as another process needs it to work on its task.

    `handoff` has a lease; it bounds whatever the rest says. `model` is the full name of its model,
    `every_model` what the operator says for all agents, None for nothing; so is `isolation`.
    `workspace` is where it works, `settings_root` the folder whose settings hold. Definitions are
    JSON values; `definitions` are given to the run beside those in files.
    """

    handoff: Handoff
    task: Task
    definition: Mapping[str, Any]
    model: str
    workspace: Path
    settings_root: Path
    every_model: str | None = None
    isolation: str = "auto"
    audit: bool = True
    definitions: tuple[Mapping[str, Any], ...] = ()


class AgentHost(Protocol):
    """Starts processes that agents work in. Each serves one agent and ends with it."""

    async def run(
        self, work: HostedWork, stop: anyio.Event, approver: Approver | None
    ) -> AgentReport:
        """Have a process of its own do the work.

        Once `stop` is set it has the agent cancelled, and returns its last report within seconds.
        Questions of the agent are for the approver; without one they are denied.

        Raises:
            SashizuError: there is no process, or it ended without a report.
        """
        ...

    async def expect(self, count: int) -> None:
        """Hear how many agents are about to come, so that processes may start before they do."""
        ...

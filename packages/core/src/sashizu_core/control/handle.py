"""A run from the inside: what is known of it, and how to stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from sashizu_core.approvals import Approvals
from sashizu_core.protocols import BudgetNode

__all__ = ["RunHandle", "RunInfo"]


@dataclass(slots=True)
class RunInfo:
    """What is known of a run without talking to it. Times are Unix seconds."""

    run_id: str
    agents: list[str]
    workspace: str
    pid: int
    started_at: float
    ended_at: float | None = None
    status: str = "running"
    success_count: int | None = None

    @property
    def total_count(self) -> int:
        return len(self.agents)


@dataclass
class RunHandle:
    """A run from the inside: its state, and how to stop it.

    `cancel` ends every agent with a report, `cancel_agent` one of them. `snapshot` gives the state
    of every agent as JSON values. `waiting` are the agents that nothing can interrupt yet, and that
    end as soon as they begin to work; `approvals` are the questions that wait for an answer, None
    where nobody is asked. `root` is the run's node of the ledger, None where nothing is counted.
    `clock` is when the run's time began and when it will be over, in `anyio.current_time()`; None
    where it has no end. `outlasts` says that the run goes on without this process.
    """

    run_id: str
    snapshot: Callable[[], Mapping[str, Any]] = dict
    reason: str = ""
    expired: bool = False
    waiting: set[str] = field(default_factory=set)
    approvals: Approvals | None = None
    root: BudgetNode | None = None
    clock: tuple[float, float] | None = None
    outlasts: bool = False
    _scopes: dict[str, anyio.CancelScope] = field(default_factory=dict)
    _cancelled: set[str] = field(default_factory=set)

    def track(self, agent_id: str, scope: anyio.CancelScope) -> None:
        """Make an agent instance cancellable."""
        self.waiting.discard(agent_id)
        self._scopes[agent_id] = scope
        if self.stops(agent_id):
            scope.cancel()

    def untrack(self, agent_id: str) -> None:
        self.waiting.discard(agent_id)
        self._scopes.pop(agent_id, None)

    def cancel(self, reason: str = "cancelled") -> None:
        """End all agents; those that have not begun end at once when they do."""
        self.reason = self.reason or reason
        for scope in self._scopes.values():
            scope.cancel()

    def expire(self, reason: str) -> None:
        """End all agents because the run's time is over."""
        self.expired = True
        self.cancel(reason)

    def cancel_agent(self, agent_id: str) -> bool:
        """End one agent, at work or waiting; False if it is neither."""
        scope = self._scopes.get(agent_id)
        if scope is not None:
            scope.cancel()
        elif agent_id in self.waiting:
            self._cancelled.add(agent_id)
        else:
            return False
        return True

    def stops(self, agent_id: str) -> bool:
        """Whether an agent was cancelled, alone or with all others."""
        return bool(self.reason) or agent_id in self._cancelled

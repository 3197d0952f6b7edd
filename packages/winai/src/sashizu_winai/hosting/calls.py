"""What Windows asks of whoever provides actions, and what it is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sashizu_winai.entities import ActionInfo, Entity, OutcomeStatus

__all__ = ["ActionProvider", "HostedAnswer", "HostedCall"]


@dataclass(frozen=True, slots=True)
class HostedCall:
    """One invocation. `invoker` is the application user model id of who asks, as Windows tells it.

    Everything in it comes from another program: it is untrusted.
    """

    action: str
    inputs: Mapping[str, Entity]
    invoker: str = ""


@dataclass(frozen=True, slots=True)
class HostedAnswer:
    """How an invocation ended. `fault` is for the log; Windows is told `hresult`, 0 for success."""

    status: OutcomeStatus
    outputs: Mapping[str, Entity] = field(default_factory=dict)
    hresult: int = 0
    fault: str = ""


class ActionProvider(Protocol):
    """Carries out actions that others invoke."""

    @property
    def actions(self) -> Sequence[ActionInfo]:
        """What it provides, as the manifest of its package tells Windows."""
        ...

    async def invoke(self, call: HostedCall) -> HostedAnswer:
        """Carry out one action. What goes wrong is part of the answer; cancelling ends the work."""
        ...

"""The state of every agent of a run, read off its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import anyio

from sashizu_core.events import Event

__all__ = ["AgentProgress", "Progress"]


@dataclass(slots=True)
class AgentProgress:
    """One agent instance at this moment. `tokens` is what was billed so far."""

    agent: str
    agent_id: str
    state: str = "waiting"
    step: int = 0
    tool: str = ""
    tokens: int = 0
    limit: int | None = None


class Progress:
    """A sink that keeps the newest state per agent instance, in the order of their start."""

    persistent = False

    def __init__(self) -> None:
        self.agents: dict[str, AgentProgress] = {}

    def write(self, events: Sequence[Event]) -> None:
        for event in events:
            fields = event.fields
            agent_id = fields.get("agent_id")
            if agent_id is not None:
                self._update(str(agent_id), event.kind, fields)

    async def durable(self) -> None:
        await anyio.lowlevel.checkpoint()

    def child_handoff(self) -> Mapping[str, str]:
        return {}

    def snapshot(self) -> Mapping[str, Any]:
        """The state of all agents as JSON values."""
        return {"agent_states": [asdict(agent) for agent in self.agents.values()]}

    def _update(self, agent_id: str, kind: str, fields: Mapping[str, Any]) -> None:
        agent = self.agents.get(agent_id)
        if agent is None:
            agent = self.agents[agent_id] = AgentProgress(str(fields["agent_name"]), agent_id)
        agent.step = fields.get("step", agent.step)
        match kind:
            case "agent.started":
                agent.state = "working"
                agent.limit = fields.get("budget_limit")
            case "model.requested":
                agent.state, agent.tool = "thinking", ""
            case "model.answered":
                agent.state = "working"
                agent.tokens += fields.get("tokens", 0)
            case "tool.requested":
                agent.state, agent.tool = "acting", str(fields["tool"])
            case "agent.ended":
                agent.state, agent.tool = str(fields["status"]), ""

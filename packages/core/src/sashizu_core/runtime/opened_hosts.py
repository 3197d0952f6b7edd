"""The hosts of a run: who starts the processes of its agents, opened when they are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from sashizu_core.agents import Catalogue
from sashizu_core.hosts import AgentHost
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.run_parts import Above

if TYPE_CHECKING:
    from sashizu_core.runtime.opening import Opened

__all__ = ["Hosts"]


class Hosts:
    """Who starts processes for the agents of a run."""

    def __init__(self, asked: Asked, catalogue: Catalogue) -> None:
        self.asked = asked
        self._catalogue = catalogue
        self._opened: dict[str, AgentHost] = {}
        self._first = 0

    async def open(self, plans: Sequence[AgentPlan], opened: Opened) -> None:
        """Open what plans ask for, and let processes start.

        Raises:
            UsageError: there is no ledger that can lease.
        """
        plans = [plan for plan in plans if plan.past is None or not plan.past.strict]
        coming = Counter(plan.host for plan in plans if plan.host)
        below = {name for plan in plans for name in self._of_agents_below(plan)}
        for name in {**coming, **dict.fromkeys(below)}:
            if name not in self._opened:
                self._opened[name] = await opened.host(name, self.asked.root)
            count = coming[name] + (name in below)
            await self._opened[name].expect(min(count, self.asked.jobs))

    def _of_agents_below(self, plan: AgentPlan) -> Iterator[str]:
        """The hosts of agents that an agent may start here."""
        if plan.host or not any("spawn" in spec.needs for spec in plan.tools.values()):
            return
        named = plan.definition.spawn.agents
        for entry in self._catalogue:
            if "*" in named or entry.name in named:
                said = self.asked.isolation
                name = entry.definition.isolation if said == "auto" else said
                if name is not None and name in self.asked.registry.hosts:
                    yield name

    def host_of(self, plan: AgentPlan, above: Above) -> AgentHost | None:
        """Who starts the process of a further agent; None for one only taken from a record."""
        self._first += above.agent_id is None or self.asked.received is not None
        return self._opened.get(plan.host)

    def next_of_first(self) -> int:
        """How many of the agents that the run began with have no share yet, one less each time."""
        self._first -= 1
        return max(1, self._first + 1)

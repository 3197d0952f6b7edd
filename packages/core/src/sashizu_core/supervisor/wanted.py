"""What is asked of a supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sashizu_core.agents.definition import agent_key
from sashizu_core.supervisor.merging import Merge
from sashizu_core.supervisor.plans import Step, Strategy
from sashizu_core.types import Limits, Task

__all__ = ["Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of a supervisor. `agents` are the purposes by name, `limits` by name.

    `named` says that somebody chose the agents; `models` are those that every step runs on, none
    for each agent's own; `voted_field` is what voting compares in answers that are JSON.
    """

    goal: str
    agents: Mapping[str, str]
    named: bool
    strategy: Strategy
    merge: Merge
    scope: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    voted_field: str = ""
    limits: Mapping[str, Limits] = field(default_factory=dict)

    def limits_of(self, agent: str) -> Limits:
        """What one instance of an agent may use."""
        known = {agent_key(name): limits for name, limits in self.limits.items()}
        return known.get(agent_key(agent), Limits())

    def tasks_of(self, step: Step) -> list[Task]:
        """What a step asks: of one agent, on each model."""
        limits = self.limits_of(step.agent)
        return [
            Task(step.agent, step.goal, self.scope, model=model, limits=limits)
            for model in self.models or (None,)
        ]

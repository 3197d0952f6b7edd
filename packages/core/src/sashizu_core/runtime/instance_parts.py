"""What one agent instance has of its own, beside what all agents of its run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sashizu_core.grants import Subject
from sashizu_core.ids import AgentId
from sashizu_core.protocols import BudgetNode
from sashizu_core.runtime.places import Place
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.run_parts import RunParts
from sashizu_core.turn.inference import Inference
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.steps import StepContext

__all__ = ["InstanceParts"]


@dataclass(frozen=True, slots=True)
class InstanceParts:
    """One agent at work on one task.

    `node` is where its calls are reserved, `depth` how many agents are above it.
    """

    plan: AgentPlan
    run: RunParts
    agent_id: AgentId
    conversation_id: str
    place: Place
    steps: StepContext
    inference: Inference
    node: BudgetNode | None
    depth: int

    @property
    def subject(self) -> Subject:
        """Whom its calls are judged as."""
        return Subject(self.agent_id, self.plan.name, self.plan.chain)

    @property
    def past(self) -> AgentPast | None:
        """What it did before."""
        return self.plan.past

    @property
    def on_text(self) -> Callable[[str], None] | None:
        """Who hears what its model says, while it does."""
        on_text = self.run.on_text
        return (lambda text: on_text(self.agent_id, text)) if on_text is not None else None

"""What all agents of a run share, and where one of them stands among the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from sashizu_core.approvals import Approvals
from sashizu_core.control import RunHandle
from sashizu_core.ids import AgentId, RunId
from sashizu_core.protocols import (
    Admission,
    Budget,
    BudgetNode,
    Model,
    Policy,
    Tool,
    ToolSource,
)
from sashizu_core.reactions.book import ReactionBook
from sashizu_core.runtime.places import Places
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.run_past import RunPast
from sashizu_core.sandboxing import Sandbox
from sashizu_core.skills.shelf import Shelf
from sashizu_core.turn.attempts import ProviderGate
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.shares import SharePools
from sashizu_core.types import SpendWindow

if TYPE_CHECKING:
    from sashizu_core.runtime.opened_hosts import Hosts
    from sashizu_core.runtime.spawning import Spawning

__all__ = ["Above", "AgentProgress", "RunParts", "repeated_run"]


@dataclass(frozen=True, slots=True)
class AgentProgress:
    """One agent instance at one moment.

    `state` is `waiting`, `working` or the status it ended with; `tokens` is what was billed so far.
    """

    agent: str
    agent_id: str
    state: str
    step: int
    tool: str
    tokens: int
    limit: int | None
    depth: int = 0
    parent_agent_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunParts:
    """What all agents of a run share.

    `nodes` are the ledger's from `root` upwards, as far as this process knows them; `windows` are
    those of spend above them, as they were when the run began. `document` is what the run was
    asked, as text for the record; `past` is the run that is made again or gone on with; `numbers`
    counts the agents that it has.
    """

    run_id: RunId
    recorder: Recorder
    places: Places
    handle: RunHandle
    models: dict[str, Model]
    tools: dict[str, Tool]
    gates: dict[tuple[str, str], ProviderGate]
    policies: Sequence[Policy]
    approvals: Approvals | None
    budget: Budget | None
    root: BudgetNode | None
    sandbox: Sandbox | None
    max_turns: int
    max_output_tokens: int
    on_text: Callable[[str, str], None] | None
    on_line: Callable[[str, str], None] | None
    spawning: Spawning | None = None
    sources: Sequence[ToolSource] = ()
    shelf: Shelf | None = None
    book: ReactionBook | None = None
    hosts: Hosts | None = None
    warn_at: float = 1.0
    pools: SharePools | None = None
    admission: Admission | None = None
    nodes: tuple[BudgetNode, ...] = ()
    windows: Sequence[SpendWindow] = ()
    document: str = ""
    past: RunPast | None = None
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for a person: what of a repository is not used, and why."""
        shelf = self.shelf.notes if self.shelf is not None else ()
        return (*shelf, *(self.book.notes if self.book is not None else ()))

    def gate(self, model: Model) -> ProviderGate:
        """The limiter that all callers of a provider with the same key share."""
        key = (model.info.provider, model.info.endpoint)
        if key not in self.gates:
            governs = self.admission is not None and self.admission.governs(model.info)
            self.gates[key] = ProviderGate(admission=self.admission if governs else None)
        return self.gates[key]


@dataclass(frozen=True, slots=True)
class Above:
    """What an agent instance is beneath: nothing, or the one that started it.

    `step` is the number of its step that did. `nodes` are those of the ledger from `node` up to the
    run's.
    """

    depth: int = 0
    agent_id: AgentId | None = None
    agent_name: str = ""
    span_id: object = None
    step: int = -1
    node: BudgetNode | None = None
    nodes: tuple[BudgetNode, ...] = ()


def repeated_run(parts: RunParts, plan: AgentPlan) -> object:
    """The run that all events of an agent repeat; None where it does something itself."""
    if plan.past is not None and plan.past.strict and not plan.past.in_place:
        return plan.past.run_id
    return parts.recorder.context.get("replay_of")

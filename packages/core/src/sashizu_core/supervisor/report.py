"""What became of a goal: its plan, every step, and the one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sashizu_core.supervisor.merging import Merge, Merged
from sashizu_core.supervisor.plans import Step, StepPlan, Strategy
from sashizu_core.types import RunReport

__all__ = ["StepResult", "Supervision"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of one step.

    `round` is 1 for the first plan and 2 for what was planned after failures. `skipped` was never
    started, because what it waits for failed or an answer was enough. `agent_ids` are the agent
    instances that worked on it, one for each model; `merged` is what was made of their answers,
    None where it was not started.
    """

    step: Step
    round: int
    state: Literal["done", "failed", "skipped"]
    answer: str = ""
    error: str = ""
    agent_ids: tuple[str, ...] = ()
    merged: Merged | None = None

    @property
    def ok(self) -> bool:
        return self.state == "done"


@dataclass(frozen=True, slots=True)
class Supervision:
    """What became of a goal.

    `plan` is None where none could be made; `replanned` is what was planned after failures.
    `steps` are those of both, in order. `merged` is the answer to the goal; None where nothing
    was run. `run` has the reports of all agents, the planner and
    the judge included. `ok` says that there is an answer, and with `concatenate` that it lacks no
    part.
    """

    goal: str
    strategy: Strategy
    merge: Merge
    plan: StepPlan | None
    replanned: StepPlan | None
    steps: tuple[StepResult, ...]
    merged: Merged | None
    run: RunReport
    ok: bool

    @property
    def answer(self) -> str:
        """The answer to the goal; empty where there is none."""
        return self.merged.answer if self.merged is not None else ""

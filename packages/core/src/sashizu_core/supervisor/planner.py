"""The agent that makes plans, and what it is told."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sashizu_core.agents import AgentDefinition
from sashizu_core.supervisor.looking import looking
from sashizu_core.supervisor.merging import Merge
from sashizu_core.supervisor.passing import Passed, passed_inputs
from sashizu_core.supervisor.plans import MOST_STEPS, Step, StepPlan, Strategy, plan_schema
from sashizu_core.types import Task

__all__ = ["PLANNER", "Failure", "one_each", "planner", "planning_task", "replanning_task"]

PLANNER = "sashizu-planner"
"""The name of the agent that makes plans."""

_GOAL_CHARACTERS = 300

_INSTRUCTIONS = f"""\
Make the smallest plan that reaches the goal: as few steps as do it, never more than {MOST_STEPS}.
Give each step to the agent whose purpose fits it, and write a goal that says all it needs: it sees
neither this conversation nor the plan. A step gets the answers of the steps it comes after. Name
those only where it needs them: steps that do not wait for each other run at the same time.
Do not do the work yourself, and do not plan what nobody asked for.
You may look at the files to find out what there is to do; a few looks are enough."""

_STRATEGIES: Mapping[Strategy, str] = {
    "sequential": "Steps run one after another, in the order of the plan.",
    "parallel": "All steps run at once: none may come after another.",
    "hybrid": "Steps run as soon as those they come after have ended.",
}

_MERGES: Mapping[Merge, str] = {
    "concatenate": "The answers of all steps are joined, in the order of the plan.",
    "voting": "The last steps, which no other comes after, are given to different agents and "
    "answer the same question in the same form: their answers are counted as votes.",
    "first-success": "The last steps, which no other comes after, are alternatives: the first that "
    "succeeds is taken.",
    "highest-score": "The last steps, which no other comes after, are alternatives: the one with "
    "the highest score is taken.",
    "judge": "The last steps, which no other comes after, are alternatives: a judge takes one.",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A step that ended without success, or was never started; then `error` says for what."""

    step: Step
    error: str


def planner(agents: Sequence[str], tools: Collection[str]) -> AgentDefinition:
    """The definition of the agent that plans for these agents, with those tools that there are."""
    return AgentDefinition.model_validate(
        {
            "name": PLANNER,
            "goal": "Take a goal apart into steps, and give each to the agent that fits it.",
            "instructions": _INSTRUCTIONS,
            "tools": looking(tools),
            "output": plan_schema(agents),
        }
    )


def planning_task(
    goal: str,
    agents: Mapping[str, str],
    strategy: Strategy,
    merge: Merge,
    *,
    named: bool,
    scope: tuple[str, ...] = (),
) -> Task:
    """What the planner is asked first. `agents` are their purposes by name.

    `named` says that somebody chose these agents for this goal, so that each should get a step.
    """
    return Task(
        PLANNER, "Make a plan for the goal.", scope, _facts(goal, agents, strategy, merge, named)
    )


def replanning_task(
    goal: str,
    agents: Mapping[str, str],
    strategy: Strategy,
    merge: Merge,
    *,
    done: Sequence[Passed],
    failed: Sequence[Failure],
    scope: tuple[str, ...] = (),
) -> Task:
    """What the planner is asked once some steps have failed: a plan of what is still to do."""
    inputs = _facts(goal, agents, strategy, merge, named=False)
    inputs["done"] = json.dumps([{"id": each.step, "agent": each.agent} for each in done])
    inputs["failed"] = json.dumps(
        [
            {
                "id": each.step.id,
                "agent": each.step.agent,
                "goal": each.step.goal,
                "after": each.step.after,
                "error": each.error[:1000],
            }
            for each in failed
        ],
        ensure_ascii=False,
    )
    text = (
        "Some steps of a plan for the goal have failed. Plan what is still to do, in another way "
        "where the failure asks for one. Use new ids; a step may come after those that are done."
    )
    return Task(PLANNER, text, scope, inputs | passed_inputs(done))


def _facts(
    goal: str, agents: Mapping[str, str], strategy: Strategy, merge: Merge, named: bool
) -> dict[str, str]:
    told = [
        {"name": name, "purpose": " ".join(purpose.split())[:_GOAL_CHARACTERS]}
        for name, purpose in agents.items()
    ]
    facts = {
        "goal": goal,
        "agents": json.dumps(told, ensure_ascii=False),
        "strategy": f"{strategy}: {_STRATEGIES[strategy]}",
        "merge": f"{merge}: {_MERGES[merge]}",
    }
    if named:
        facts["each agent"] = "They were chosen for this goal: every one of them gets a step."
    return facts


def one_each(goal: str, agents: Sequence[str]) -> StepPlan:
    """The plan that needs no model: every agent gets the goal as it is, all at once."""
    steps = [Step(f"s{number}", name, goal) for number, name in enumerate(agents, 1)]
    return StepPlan(tuple(steps), "rule", by_rules=True)

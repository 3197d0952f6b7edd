"""Plans: steps, each for one agent, that wait for others; read from what a model wrote."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, Literal

from sashizu_core.agents.definition import agent_key
from sashizu_core.errors import UsageError, nearest

__all__ = [
    "MOST_STEPS",
    "STRATEGIES",
    "Step",
    "StepPlan",
    "Strategy",
    "in_order",
    "plan_problem",
    "plan_schema",
    "read_plan",
    "waits_of",
]

Strategy = Literal["sequential", "parallel", "hybrid"]

STRATEGIES: tuple[Strategy, ...] = ("sequential", "parallel", "hybrid")

MOST_STEPS = 40

_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_LONGEST_GOAL = 20_000


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `after` are the ids of the steps whose answers it needs."""

    id: str
    agent: str
    goal: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepPlan:
    """Steps without a cycle, in an order in which they can be done.

    `made_by` is the model that made the plan, or `rule`; `by_rules` says that this is no language
    model.
    """

    steps: tuple[Step, ...]
    made_by: str
    by_rules: bool = False


def plan_schema(agents: Sequence[str]) -> dict[str, Any]:
    """The JSON Schema of a plan whose steps go to some of these agents."""
    step = {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "Short, in small letters: 's1', 'tests'."},
            "agent": {"type": "string", "enum": list(agents)},
            "goal": {
                "type": "string",
                "description": "What the agent should do; it sees nothing of this conversation.",
            },
            "after": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Ids of the steps whose answers it needs.",
            },
        },
        "required": ["id", "agent", "goal", "after"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": step}},
        "required": ["steps"],
        "additionalProperties": False,
    }


def read_plan(
    text: str,
    agents: Collection[str],
    strategy: Strategy,
    *,
    made_by: str,
    done: Collection[str] = (),
    taken: Collection[str] = (),
) -> StepPlan:
    """Read a plan from JSON.

    `agents` are the names that may be used; `done` are ids of earlier steps that a step may wait
    for, `taken` those that no step may have.

    Raises:
        UsageError: it is no plan; says everything that is wrong.
    """
    problem, steps = _read(text, agents, strategy, done, {*done, *taken})
    if problem:
        raise UsageError(f"that is no plan that can be carried out: {problem}")
    return StepPlan(in_order(steps), made_by)


def plan_problem(
    text: str,
    agents: Collection[str],
    strategy: Strategy,
    *,
    done: Collection[str] = (),
    taken: Collection[str] = (),
) -> str:
    """What is wrong with a plan, in words for the one who wrote it; empty if nothing is."""
    return _read(text, agents, strategy, done, {*done, *taken})[0]


def in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Steps so that each comes after those it waits for, else as they were written.

    Raises:
        UsageError: they wait for each other in a circle; names it.
    """
    given = {step.id: step for step in steps}
    try:
        TopologicalSorter(_known(given)).prepare()
    except CycleError as error:
        circle = " → ".join(reversed(error.args[1]))
        raise UsageError(f"the steps wait for each other in a circle: {circle}") from None
    placed: dict[str, Step] = {}
    while len(placed) < len(given):
        for step in given.values():
            ready = all(each in placed for each in step.after if each in given)
            if step.id not in placed and ready:
                placed[step.id] = step
    return tuple(placed.values())


def waits_of(steps: Sequence[Step], strategy: Strategy) -> dict[str, tuple[str, ...]]:
    """What each step waits for before it starts, among the steps given.

    `steps` are in order. With `sequential` each waits for the one before it besides.
    """
    ids = {step.id for step in steps}
    waits = {step.id: tuple(each for each in step.after if each in ids) for step in steps}
    if strategy == "sequential":
        for before, step in pairwise(steps):
            waits[step.id] = tuple(dict.fromkeys((*waits[step.id], before.id)))
    return waits


def _known(steps: Mapping[str, Step]) -> dict[str, list[str]]:
    return {name: [each for each in step.after if each in steps] for name, step in steps.items()}


def _read(
    text: str,
    agents: Collection[str],
    strategy: Strategy,
    done: Collection[str],
    taken: Collection[str],
) -> tuple[str, list[Step]]:
    """What is wrong with a plan, and its steps as far as they can be read."""
    try:
        written = json.loads(text)
    except (ValueError, RecursionError) as error:
        return f"it is no JSON: {error}", []
    steps = _steps(written)
    if steps is None:
        return "it has to be an object with 'steps', each with id, agent, goal and after", []
    found = list(_faults(steps, agents, strategy, done, taken))
    if not found:
        try:
            in_order(steps)
        except UsageError as error:
            found.append(str(error))
    names = {agent_key(name): name for name in agents}
    resolved = [
        Step(step.id, names.get(agent_key(step.agent), step.agent), step.goal, step.after)
        for step in steps
    ]
    return "; ".join(found[:10]), resolved


def _steps(written: Any) -> list[Step] | None:
    listed = written.get("steps") if isinstance(written, dict) else None
    if not isinstance(listed, list):
        return None
    steps = []
    for entry in listed:
        if not isinstance(entry, dict) or entry.keys() != {"id", "agent", "goal", "after"}:
            return None
        after = entry["after"]
        texts = [entry["id"], entry["agent"], entry["goal"]]
        if not isinstance(after, list) or not all(isinstance(x, str) for x in [*texts, *after]):
            return None
        steps.append(Step(entry["id"], entry["agent"], entry["goal"], tuple(dict.fromkeys(after))))
    return steps


def _faults(
    steps: Sequence[Step],
    agents: Collection[str],
    strategy: Strategy,
    done: Collection[str],
    taken: Collection[str],
) -> Iterable[str]:
    if not 1 <= len(steps) <= MOST_STEPS:
        yield f"a plan has 1 to {MOST_STEPS} steps, not {len(steps)}"
    keys = {agent_key(name) for name in agents}
    seen: set[str] = set()
    known = {step.id for step in steps} | set(done)
    for step in steps:
        if not _ID.fullmatch(step.id):
            yield f"{step.id[:40]!r} is no id: write small letters, digits, - and _"
        elif step.id in seen or step.id in taken:
            yield f"the id {step.id!r} is used twice"
        seen.add(step.id)
        if agent_key(step.agent) not in keys:
            yield (
                f"step {step.id!r} names the unknown agent {step.agent[:80]!r}"
                f"{nearest(step.agent, agents)}; known: {', '.join(agents)}"
            )
        if not step.goal.strip() or len(step.goal) > _LONGEST_GOAL:
            yield f"the goal of step {step.id!r} is empty or longer than {_LONGEST_GOAL} characters"
        for each in step.after:
            if each not in known:
                yield f"step {step.id!r} waits for {each[:40]!r}, which is no step"
            elif strategy == "parallel" and each not in done:
                yield f"with the strategy parallel no step waits: {step.id!r} waits for {each!r}"

"""The plans of agents that have been at work before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.types import Task

__all__ = ["repeated_plans"]


def repeated_plans(
    tasks: Sequence[Task], asked: Asked, anew: Callable[[list[Task]], list[AgentPlan]]
) -> list[AgentPlan]:
    """Recorded plans of those agents that began then; `anew` makes those of the others.

    Raises:
        Diverged: an agent is asked for that did not begin then, and nothing may be added.
    """
    past = asked.past
    assert past is not None
    known = [past.plan(task, asked.registry, root=asked.root) for task in tasks]
    others = [task for task, plan in zip(tasks, known, strict=True) if plan is None]
    made = iter(anew(others) if others else ())
    return [plan if plan is not None else next(made) for plan in known]

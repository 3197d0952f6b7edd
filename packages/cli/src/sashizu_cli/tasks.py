"""Turns the words of `run`, `delegate` and `delegate-parallel` into tasks."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TypeVar

from sashizu_core.agents.definition import agent_key
from sashizu_core.errors import UsageError
from sashizu_core.types import Limits, Task

__all__ = ["agent_names", "make_tasks", "text_or_stdin"]

T = TypeVar("T")


def agent_names(words: str) -> tuple[str, ...]:
    """The names in `A,B,...`.

    Raises:
        UsageError: there is none, or one of them is empty.
    """
    names = tuple(name.strip() for name in words.split(","))
    if not any(names):
        raise UsageError(
            "no agent is named; write them as A,B,... (`sashizu agent list` shows them all)"
        )
    if not all(names):
        raise UsageError(f"{words!r} has an empty name between its commas")
    return names


def make_tasks(
    agents: Sequence[str],
    *,
    goals: Sequence[str] = (),
    scopes: Sequence[str] = (),
    limits: Mapping[str, Limits] | None = None,
) -> list[Task]:
    """One task per agent, in order.

    One goal or scope counts for all agents; as many as there are agents count one for each; a
    single agent takes any number of scopes.

    Raises:
        UsageError: another number of goals or scopes, or a budget for an agent that is not asked.
    """
    limit_of = {agent_key(name): limit for name, limit in (limits or {}).items()}
    asked = {agent_key(agent) for agent in agents}
    for name in limits or {}:
        if agent_key(name) not in asked:
            raise UsageError(
                f"--budget {name}=... is for an agent that is not asked; asked: {', '.join(agents)}"
            )
    goal_of = _shared_out("--goal", goals, len(agents))
    if len(agents) == 1:
        scope_of = [tuple(scopes)]
    else:
        found = _shared_out("--scope", scopes, len(agents))
        scope_of = [() if scope is None else (scope,) for scope in found]
    return [
        Task(agent, goal=goal or "", scope=scope, limits=limit_of.get(agent_key(agent), Limits()))
        for agent, goal, scope in zip(agents, goal_of, scope_of, strict=True)
    ]


def _shared_out(flag: str, values: Sequence[T], count: int) -> list[T | None]:
    """One value for each: none, the same for all, or as many as there are."""
    if not values:
        return [None] * count
    if len(values) == 1:
        return [values[0]] * count
    if len(values) == count:
        return list(values)
    if count == 1:
        raise UsageError(f"{flag} was given {len(values)} times for 1 agent: give it once")
    raise UsageError(
        f"{flag} was given {len(values)} times for {count} agents: "
        f"give it once for all of them, or {count} times, one for each"
    )


def text_or_stdin(text: str) -> str:
    """The text itself, or all of stdin for `-`.

    Raises:
        UsageError: stdin is empty or no UTF-8, or the text is empty.
    """
    if text == "-":
        if sys.stdin is None:
            raise UsageError("'-' reads from stdin, and stdin is closed")
        try:
            text = sys.stdin.buffer.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(f"stdin is no UTF-8 text: byte {error.start}") from error
        if not text.strip():
            raise UsageError("'-' reads from stdin, and stdin is empty")
    if not text.strip():
        raise UsageError("the prompt is empty")
    return text

"""The agents of a run in the order of their tree, with what each cost with all beneath it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sashizu_dashboard.shown import Agent

__all__ = ["agents_of", "in_tree_order"]


def agents_of(
    rows: Sequence[tuple[Any, ...]], limits_of: Callable[[object], Mapping[str, int]]
) -> tuple[Agent, ...]:
    """Agents from rows of id, parent, name, model, status, error, start, end, limits and use."""
    found = {}
    for row in rows:
        agent_id, parent, name, model, status, error = (str(value or "") for value in row[:6])
        tokens, nusd, requests = (int(value or 0) for value in row[9:12])
        found[agent_id] = Agent(
            agent_id,
            parent,
            name,
            model,
            status,
            error,
            int(row[6]),
            None if row[7] is None else int(row[7]),
            limits_of(row[8]),
            tokens,
            nusd,
            requests,
        )
    return in_tree_order(tuple(found.values()))


def in_tree_order(agents: Sequence[Agent]) -> tuple[Agent, ...]:
    """Each agent once, parents before children, whatever a damaged record says of parents."""
    known = {agent.agent_id for agent in agents}
    below: dict[str, list[Agent]] = {}
    for agent in agents:
        parent = agent.parent_id if agent.parent_id in known else ""
        below.setdefault(parent, []).append(agent)
    placed: dict[str, Agent] = {}
    for agent in [*below.get("", []), *agents]:  # the second time, those in a circle
        _place((agent, 0), below, placed)
    return _summed(placed)


def _place(
    first: tuple[Agent, int], below: dict[str, list[Agent]], placed: dict[str, Agent]
) -> None:
    todo = [first]
    while todo:
        agent, level = todo.pop()
        if agent.agent_id in placed:
            continue
        placed[agent.agent_id] = replace(agent, level=level)
        todo += [(child, level + 1) for child in reversed(below.get(agent.agent_id, []))]


def _summed(placed: Mapping[str, Agent]) -> tuple[Agent, ...]:
    """In tree order, what stands directly beneath is what follows with a greater level."""
    done: list[Agent] = []
    open_: list[tuple[int, int, int, int]] = []  # level and sums of those without a parent yet
    for agent in reversed(list(placed.values())):
        sums = [agent.tokens, agent.nusd, agent.requests]
        while open_ and open_[-1][0] > agent.level:
            sums = [mine + theirs for mine, theirs in zip(sums, open_.pop()[1:], strict=True)]
        open_.append((agent.level, sums[0], sums[1], sums[2]))
        done.append(replace(agent, all_tokens=sums[0], all_nusd=sums[1], all_requests=sums[2]))
    return tuple(reversed(done))

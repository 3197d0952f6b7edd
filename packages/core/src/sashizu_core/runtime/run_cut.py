"""The history of a run until one step of one agent: what a fork begins with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sashizu_core.runtime.run_past import RunPast
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.recorded_step import RESTORE_FILES

__all__ = ["Cut", "cut_off"]

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where history ends: before the step `step` of an agent, who goes on with another `model`."""

    agent_id: str
    step: int
    model: str | None = None


def cut_off(past: RunPast, cut: Cut, *, supervised: bool) -> RunPast:
    """The same history without a step of an agent, and without all that came of it.

    With `supervised`, agents that began after that step were started because of what came
    before them, and are not part of it.
    """
    begins = {known.past.agent_id: known for known in past.agents}
    steps: dict[str, int] = {cut.agent_id: cut.step}
    waits: dict[str, int] = {}
    child = begins[cut.agent_id]
    while (parent := begins.get(child.place[0])) is not None:
        waits[parent.past.agent_id] = child.place[1]
        steps[parent.past.agent_id] = _next_call(parent.past, child.place[1])
        child = parent
    when = _time_of(begins[cut.agent_id].past, cut.step)
    dropped: set[str] = set()
    for known in sorted(past.agents, key=lambda known: known.past.depth):
        above, at_step = known.place
        late = supervised and not above and int(known.past.started.get("ts_ns") or 0) > when
        if above in dropped or (above in steps and at_step >= steps[above]) or late:
            dropped.add(known.past.agent_id)
    kept = [
        event
        for event in past.recorded.events
        if event.get("agent_id") not in dropped and event["kind"] != "run.ended"
    ]
    for agent_id, step in steps.items():
        kept = _without(kept, agent_id, step, waits.get(agent_id))
    found = RunPast.of(replace(past.recorded, events=kept), recomputes=False)
    ids = {id(event) for event in kept}
    gone = [event for event in past.recorded.events if id(event) not in ids]
    for known in found.agents:
        known.past.forked = True
        known.past.unchanged = _ended_so(gone, known.past.agent_id, dropped)
    found.model = (cut.agent_id, cut.model) if cut.model is not None else None
    return found


def _ended_so(gone: Sequence[Fields], agent_id: str, dropped: set[str]) -> bool:
    """Whether an agent came to its end, and nothing changed a file in what is cut off of it."""
    own = [event for event in gone if event.get("agent_id") in {agent_id, *dropped}]
    changing = any(
        event["kind"] == "tool.requested"
        and event.get("op") != "keep_changes"
        and event.get("step_kind") != "pure"
        for event in own
    )
    ended = any(
        event["kind"] == "agent.ended" and event.get("agent_id") == agent_id for event in own
    )
    return ended and not changing


def _next_call(past: AgentPast, step: int) -> int:
    """The first call of a model after a step: what all that follows it rests on."""
    asked = [
        seq for seq, known in past.steps.items() if known.intent.get("kind") == "model.requested"
    ]
    return min((seq for seq in asked if seq > step), default=past.last_seq + 1)


def _time_of(past: AgentPast, step: int) -> int:
    known = past.steps[step]
    return int((known.intent or known.outcome).get("ts_ns") or 0)


def _without(
    events: Iterable[Fields], agent_id: str, step: int, waiting: int | None
) -> list[Fields]:
    """Events without those of an agent from a step on, its end, and the outcome of one call."""
    kept: list[Fields] = []
    reached = False
    for event in events:
        if event.get("agent_id") != agent_id:
            kept.append(event)
            continue
        kind, at = event["kind"], event.get("step")
        reached = reached or (at is not None and int(at) >= step)
        if kind == "agent.ended" or (at is None and reached):
            continue
        if event.get("op") == RESTORE_FILES:  # the folder of the new one is another
            continue
        if at is not None:
            of = _of_step(event)
            if int(at) == step or of >= step or (of == waiting and _after_it(event)):
                continue
        kept.append(event)
    return kept


def _of_step(event: Fields) -> int:
    """The step that an event belongs to; that of a hook is the one that it reacts to."""
    attrs: Fields = event.get("attrs") or {}
    return int(attrs.get("for_step", event["step"]) if _of_hook(event) else event["step"])


def _after_it(event: Fields) -> bool:
    """Whether an event tells what came of a call."""
    if _of_hook(event):
        return str(event.get("tool")) == "PostToolUse"
    return str(event["kind"]) == "tool.ended"


def _of_hook(event: Fields) -> bool:
    return event.get("op") == "run_hook"

"""A run that went on from another, together with what it had not taken over from it yet.

Who goes on takes the history over agent by agent, as each comes to its turn. An interruption in
between leaves agents of which the new record holds less than the old one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sashizu_core.recorded import RecordedRun

__all__ = ["joined", "not_taken_over"]

Fields = Mapping[str, Any]

_OUTCOMES = ("model.answered", "model.failed", "tool.ended")
_STOPS = ("cancelled", "timeout")


def not_taken_over(events: Iterable[Fields], earlier: Iterable[Fields]) -> set[str]:
    """The agent instances of an earlier run of which the one that went on holds less."""
    new, old = _by_agent(events), _by_agent(earlier)
    took = _taken_over(new)
    anew = {agent_id for agent_id, known in old.items() if agent_id in took and _begins_anew(known)}
    over = anew | _beneath(anew, old)
    return {
        agent_id
        for agent_id, known in old.items()
        if agent_id not in over and not _holds_all(new.get(took.get(agent_id, ""), ()), known)
    }


def joined(recorded: RecordedRun, earlier: RecordedRun) -> RecordedRun:
    """A run with the agents of the earlier one, from which it went on, that it lacks.

    Each agent is taken from one of both records; those of the earlier one keep their ids.
    """
    late = not_taken_over(recorded.events, earlier.events)
    took = _taken_over(_by_agent(recorded.events))
    names = {new: old for old, new in took.items() if old in late}
    names |= {old: new for old, new in took.items() if old not in late}
    kept = [event for event in recorded.events if event.get("agent_id") not in names]
    ended = any(event["kind"] == "run.ended" for event in earlier.events)
    for event in earlier.events:
        if event.get("agent_id") not in late:
            continue
        if not (ended and event["kind"] == "agent.ended" and event.get("status") in _STOPS):
            kept.append(event)  # else it ended because the run did
    return replace(
        recorded,
        events=list(_renamed(kept, names)),
        problems=(*recorded.problems, *earlier.problems),
    )


def _renamed(events: Iterable[Fields], names: Mapping[str, str]) -> Iterator[Fields]:
    """Events in which agents are beneath those that are kept."""
    for event in events:
        parent = str(event.get("parent_agent_id"))
        yield {**event, "parent_agent_id": names[parent]} if parent in names else event


def _by_agent(events: Iterable[Fields]) -> dict[str, list[Fields]]:
    """The events of every agent that began."""
    found: dict[str, list[Fields]] = {}
    for event in events:
        if event.get("agent_id") is not None:
            found.setdefault(str(event["agent_id"]), []).append(event)
    return {
        agent_id: own
        for agent_id, own in found.items()
        if any(event["kind"] == "agent.started" for event in own)
    }


def _taken_over(agents: Mapping[str, Sequence[Fields]]) -> dict[str, str]:
    """Who goes on as whom: the ids of the earlier run, and those of the one that went on."""
    return {
        str(attrs["goes_on"]): agent_id
        for agent_id, events in agents.items()
        for event in events
        if event["kind"] == "agent.started" and "goes_on" in (attrs := event.get("attrs") or {})
    }


def _holds_all(events: Sequence[Fields], earlier: Sequence[Fields]) -> bool:
    """Whether all outcomes that were known are."""
    if _ended_by_itself(events):
        return True
    if not _outcomes(earlier) <= _outcomes(events) or not events:
        return False
    final = _ended_by_itself(earlier)
    return not final or any(event["kind"] == "agent.ended" for event in events)


def _begins_anew(events: Sequence[Fields]) -> bool:
    """Whether who goes on takes nothing over: its work in a process of its own is one step.

    What it spent as it began anew is in its own record alone, however far it came.
    """
    hosted = any("host" in (event.get("attrs") or {}) for event in _beginnings(events))
    return hosted and not _ended_by_itself(events)


def _beneath(above: Iterable[str], agents: Mapping[str, Sequence[Fields]]) -> set[str]:
    """All agents that some of them started, and those they did."""
    found, more = set[str](), {*above}
    while more:
        more = {
            agent_id
            for agent_id, events in agents.items()
            if any(event.get("parent_agent_id") in more for event in _beginnings(events))
        } - found
        found |= more
    return found


def _beginnings(events: Iterable[Fields]) -> Iterator[Fields]:
    return (event for event in events if event["kind"] == "agent.started")


def _ended_by_itself(events: Iterable[Fields]) -> bool:
    return any(
        event["kind"] == "agent.ended" and event.get("status") not in _STOPS for event in events
    )


def _outcomes(events: Iterable[Fields]) -> set[int]:
    return {
        int(event["step"])
        for event in events
        if event["kind"] in _OUTCOMES
        and event.get("step") is not None
        and event.get("status") != "cancelled"
    }

"""Holds the events of a replay against those of the run that it repeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any

from sashizu_core.errors import Diverged
from sashizu_core.events import Event
from sashizu_core.turn.past_columns import differences

__all__ = ["Collected", "compared_events", "not_repeated"]

Fields = Mapping[str, Any]

_OTHERS = ("writer.", "audit.", "device.", "admission.", "config.", "policy.")
_NEVER = frozenset({"run.planned", "run.confirmed", "budget.rebalanced", "security.suspicious"})
_IDS = {
    "run.started": ("forks", "resumes", "at_agent", "at_step", "heads", "spent_before"),
    "agent.started": ("number", "goes_on"),
    "agent.ended": ("artifact_count", "changed_count"),
}
"""Members of `attrs` that name another run, tell the order in which agents happened to begin, or
count what is on record in part."""


def not_repeated(kind: str) -> bool:
    """Whether an event is none of the run itself.

    It is of its writers, of what a person was asked, or of what a server did beside its calls.
    """
    return kind.startswith(_OTHERS) or kind in _NEVER


class Collected:
    """A sink that keeps the events of one run, and their texts in `fresh`, for a moment."""

    persistent = False
    keeps_content = True

    def __init__(self, fresh: dict[str, str]) -> None:
        self.events: list[Event] = []
        self.fresh = fresh

    def keep(self, text: str) -> str:
        digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        self.fresh[digest] = text
        return digest

    def write(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    async def durable(self) -> None:
        """Nothing is kept beyond the process."""

    def child_handoff(self) -> Mapping[str, str]:
        return {}


def compared_events(
    recorded: Iterable[Fields], repeated: Iterable[Event], same: Mapping[str, str]
) -> tuple[int, list[Diverged]]:
    """How many events were compared, and where they differ.

    `same` has for each recorded agent instance the one that repeated it.
    """
    was = _grouped(recorded)
    now = _grouped({"kind": event.kind, **event.fields} for event in repeated)
    count, found = 0, []
    for agent_id, steps in was.items():
        others = now.pop(same.get(agent_id, agent_id), {})
        for step in sorted({*steps, *others}):
            old, new = steps.get(step, []), others.get(step, [])
            count += len(old)
            if (difference := _difference(step, old, new)) is not None:
                found.append(difference)
    for steps in now.values():
        for step, events in steps.items():
            difference = _difference(step, [], events)
            found += [difference] if difference is not None else []
    return count, found


def _grouped(events: Iterable[Fields]) -> dict[str, dict[int, list[Fields]]]:
    """Events by agent and step, in their order: siblings run as they like."""
    found: dict[str, dict[int, list[Fields]]] = {}
    for event in events:
        if not not_repeated(str(event["kind"])):
            step = event.get("step")
            of_agent = found.setdefault(str(event.get("agent_id") or ""), {})
            of_agent.setdefault(-1 if step is None else int(step), []).append(event)
    return found


def _difference(step: int, old: Sequence[Fields], new: Sequence[Fields]) -> Diverged | None:
    name = str((old or new)[0].get("agent_name") or "the run")
    for was, now in zip(old, new, strict=False):
        if was["kind"] != now["kind"]:
            return Diverged(name, step, str(was["kind"]), str(now["kind"]))
        for column, before, after in differences(_settled(was), _settled(now)):
            told = (f"{was['kind']} with {column}={before!r}", f"{column}={after!r}")
            return Diverged(name, step, *told)
    if len(old) != len(new):
        longer = (old if len(old) > len(new) else new)[min(len(old), len(new))]
        both = (str(longer["kind"]), "nothing") if len(old) > len(new) else ("nothing",)
        return Diverged(name, step, both[0], both[1] if len(both) > 1 else str(longer["kind"]))
    return None


def _settled(event: Fields) -> Fields:
    """Without what differs though the same is done."""
    attrs, ids = event.get("attrs"), _IDS.get(str(event["kind"]))
    if not isinstance(attrs, Mapping) or ids is None:
        return event
    return {**event, "attrs": {name: attrs[name] for name in attrs if name not in ids}}

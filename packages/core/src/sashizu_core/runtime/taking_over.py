"""Takes over what agents beneath another one did, whose work is not made again step by step."""

from __future__ import annotations

from typing import Any

from sashizu_core.ids import new_agent_id, span_id
from sashizu_core.runtime.run_past import RunPast
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.record import Recorder

__all__ = ["take_over_beneath"]


def take_over_beneath(run_past: RunPast, past: AgentPast, recorder: Recorder) -> None:
    """Write the events of all agents beneath one once more, under ids of their own.

    `recorder` is of the agent that repeats `past`.

    Raises:
        RecordError: they cannot be written.
    """
    above: dict[str, Recorder] = {past.agent_id: recorder}
    for each in run_past.beneath(past.agent_id):
        if each is past:
            continue
        over = above[str(each.started.get("parent_agent_id"))]
        context: dict[str, Any] = {
            "agent_id": new_agent_id(),
            "agent_name": each.name,
            "actor": f"agent:{each.name}",
            "parent_agent_id": over.context["agent_id"],
            "depth": each.depth,
            "parent_span_id": over.context.get("span_id"),
            "span_id": span_id(),
            "replay_of": run_past.run_id,
        }
        own = above[each.agent_id] = recorder.derive(**context)
        each.goes_on_as = str(context["agent_id"])
        own.write(each.copies(each.events, own))

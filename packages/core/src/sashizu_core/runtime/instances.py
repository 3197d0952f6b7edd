"""Agent instances that wait to be run: here, or in processes of their own."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.ids import AgentId, new_agent_id
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.hosted import HostedInstance
from sashizu_core.runtime.instance import AgentInstance
from sashizu_core.runtime.places import Place
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.run_parts import Above, RunParts
from sashizu_core.types import Message

__all__ = ["Instance", "above_all", "agent_id_of", "instance_of"]

Instance = AgentInstance | HostedInstance


def instance_of(
    plan: AgentPlan,
    parts: RunParts,
    agent_id: AgentId,
    place: Place,
    *,
    above: Above | None = None,
    conversation_id: str = "",
    history: Sequence[Message] = (),
) -> Instance:
    """An agent instance that waits to be run, here or in a process of its own."""
    if plan.host:
        hosts, above = parts.hosts, above or Above()
        assert hosts is not None
        host = hosts.host_of(plan, above)
        return HostedInstance(plan, parts, agent_id, place, above, host, hosts)
    return AgentInstance(
        plan,
        parts,
        agent_id,
        place,
        conversation_id=conversation_id,
        history=history,
        above=above,
    )


def agent_id_of(plan: AgentPlan) -> AgentId:
    """The id of an agent instance that begins: a new one, or its own where it goes on in place."""
    if plan.past is not None and plan.past.in_place:
        return AgentId(plan.past.agent_id)
    return new_agent_id()


def above_all(asked: Asked, parts: RunParts) -> Above | None:
    """What the first agents of a run are beneath: None, or an agent of another process."""
    if asked.received is None:
        return None
    handoff = asked.received.handoff
    span = parts.recorder.context.get("parent_span_id")
    return Above(handoff.depth + 1, handoff.agent_id or None, "", span)

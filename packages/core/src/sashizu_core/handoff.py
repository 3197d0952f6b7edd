"""What travels from an agent to a child."""

from __future__ import annotations

from dataclasses import dataclass

from sashizu_core.grants import Grants
from sashizu_core.ids import AgentId, RunId

__all__ = ["Handoff"]


@dataclass(frozen=True, slots=True)
class Handoff:
    """Everything a child agent instance gets from above: never wider than its parent.

    `ceiling` are the grants of all ancestors, outermost first; `deadline` is in
    `anyio.current_time()`, None for none; `traceparent` is W3C; `lease_id` names the child's share
    of the ledger when it runs in another process, empty in the same one.
    """

    run_id: RunId
    agent_id: AgentId
    parent_agent_id: AgentId | None
    depth: int
    ceiling: tuple[Grants, ...]
    deadline: float | None
    traceparent: str
    lease_id: str = ""
    audit_parent: str = ""

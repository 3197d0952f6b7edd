"""What a program that is started may use of the budget by calling sashizu itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import time

from sashizu_core.errors import BudgetRefused
from sashizu_core.handoff import Handoff, hand_off
from sashizu_core.ids import AgentId, RunId
from sashizu_core.protocols import Busy, Refused
from sashizu_core.runtime.artifacts import RUNS_FOLDER
from sashizu_core.runtime.asked import Asked
from sashizu_core.settings_tables import SpawnSettings
from sashizu_core.types import UNITS, Limits

from sashizu_gateway.clients import Client
from sashizu_gateway.session import Session

__all__ = ["shared"]


@contextmanager
def shared(
    session: Session, client: Client, share: Limits | None, asked: Asked
) -> Iterator[Mapping[str, str]]:
    """The variables that hand a share of the client's budget to the program; none without one.

    What sashizu does there is part of this run: it is bounded by the share, and by its own policy.

    Raises:
        BudgetRefused: the share does not fit.
        UsageError: no ledger can lease.
    """
    if share is None:
        yield {}
        return
    context, spawn = session.parts.recorder.context, asked.settings.spawn
    seconds = asked.deadline_s
    handoff = Handoff(
        run_id=RunId(str(context["run_id"])),
        agent_id=AgentId(""),  # the program is no agent of ours
        parent_agent_id=None,
        depth=-1,
        ceiling=(),
        deadline=None if seconds is None else time() + seconds,
        traceparent=f"00-{context['trace_id']}-{context['span_id']}-01",
        depth_left=spawn.depth + 1,
        recorded=asked.audit,
        folder=f"{RUNS_FOLDER}/{session.parts.run_id}",
    )
    limits = _whole(client, share, spawn)
    given = hand_off(handoff, session.parts.budget, client.node, f"{client.name}/sashizu", limits)
    if isinstance(given, Busy | Refused):
        raise BudgetRefused(given.node, given.unit, given.asked, given.left)
    handed, lease = given
    session.parts.recorder.redactor.learn(handed.lease_id)
    try:
        yield handed.to_env()
    finally:
        lease.settle()


def _whole(client: Client, share: Limits, spawn: SpawnSettings) -> Limits:
    """The share, and half of whatever else is limited; `[spawn]` counts once for all of it."""
    given: dict[str, int | None] = {}
    for unit in UNITS:
        left = client.node.left(unit) if client.node is not None else None
        asked = getattr(share, unit)
        given[unit] = asked if asked is not None or left is None else left // 2
    own = given["agents"]
    given["agents"] = spawn.agents if own is None else min(own, spawn.agents)
    return Limits(**given, agents_alive=spawn.alive, spawn_rate=spawn.rate)

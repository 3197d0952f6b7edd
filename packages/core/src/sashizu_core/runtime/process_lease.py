"""The lease of an agent's process: how much it is given, and the wait until there is room."""

from __future__ import annotations

from sashizu_core.handoff import Handoff, Lease, hand_off
from sashizu_core.protocols import Budget, BudgetNode, Busy, Refused
from sashizu_core.runtime.child_limits import Lent
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.reserving import record_refusal, refusal
from sashizu_core.types import UNITS, Amount, Limits

__all__ = ["process_lease"]


async def process_lease(
    handoff: Handoff,
    plan: AgentPlan,
    budget: Budget | None,
    node: BudgetNode | None,
    lent: Lent,
    among: int,
    recorder: Recorder,
) -> tuple[Handoff, Lease]:
    """A lease for another process, as soon as there is room for one, and the handoff under it.

    `among` is how many share what is left where the agent has no limit of its own.

    Raises:
        BudgetRefused: there is no room, and there will be none.
        UsageError: the ledger cannot lease, or a limit is missing.
        SpawnRefused: no further level is allowed.
    """
    while True:
        limits = _share(node, plan.limits, lent, among)
        answer = hand_off(handoff, budget, node, plan.name, limits)
        if isinstance(answer, Refused):
            record_refusal(recorder, answer)
            raise refusal(answer)
        if not isinstance(answer, Busy) and _can_begin(limits):
            return answer
        if not isinstance(answer, Busy):
            answer[1].settle()
        assert node is not None
        await node.room(_least(limits))


def _share(node: BudgetNode | None, own: Limits, lent: Lent, among: int) -> Limits:
    """What a lease is given: what the agent has alone, and a part of what it shares with others."""
    given: dict[str, int | None] = {}
    for unit in UNITS:
        left = node.left(unit) if node is not None else None
        if left is not None and getattr(own, unit) is None:
            left = -(-left // among)
        given[unit] = left
    if lent.agents is not None:
        agents = given["agents"]
        given["agents"] = lent.agents + 1 if agents is None else min(agents, lent.agents + 1)
    return Limits(**given, agents_alive=lent.alive, spawn_rate=lent.rate)


def _can_begin(limits: Limits) -> bool:
    return all(getattr(limits, unit) != 0 for unit in UNITS)


def _least(limits: Limits) -> Amount:
    """The smallest amount of everything that is limited."""
    return Amount(**{unit: int(getattr(limits, unit) is not None) for unit in UNITS})

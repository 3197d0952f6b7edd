"""One ledger for everything that a server's clients start."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass

from sashizu_core.handoff import Handoff, Received
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Budget
from sashizu_core.runtime.shared_budget import SharedBudget, shared_budget, with_ledger
from sashizu_core.types import Limits

__all__ = ["ServerLedger", "share_budget"]


@dataclass(frozen=True, slots=True)
class ServerLedger:
    """`registry` gives every run a tree below the server's node.

    `ledger` is the whole ledger, `shared` what runs see of it; `received` is what the environment
    handed over to the server, and everything here happens below that.
    """

    registry: Registry
    ledger: Budget | None = None
    shared: SharedBudget | None = None
    received: Received | None = None


async def share_budget(
    registry: Registry, limits: Limits, stack: AsyncExitStack, *, leased: bool
) -> ServerLedger:
    """Open the ledger once, under the server's limits and what was handed over to the server.

    A `leased` server is handed a lease with its work.

    Raises:
        UsageError: the environment names a lease that cannot be redeemed.
    """
    if registry.budget is None:
        Handoff.from_env(os.environ, None)
        return ServerLedger(registry)
    budget = await stack.enter_async_context(registry.budget.open())
    if leased:
        return ServerLedger(registry, budget)
    received = Handoff.from_env(os.environ, budget)
    if received is None:
        node = budget.root("mcp-server", limits)
    else:
        stack.callback(received.node.close)
        node = received.node.open("mcp-server", limits)
    shared = shared_budget(budget, node)
    return ServerLedger(with_ledger(registry, shared), budget, shared, received)

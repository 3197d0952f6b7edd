"""Runs below what another process handed over: its budget, its grants, its trace and its time."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from time import time

from sashizu_core.errors import BudgetRefused, MissingPackage, SpawnRefused, UsageError
from sashizu_core.handoff import LEASE_VARIABLE, Handoff, Received
from sashizu_core.protocols import Budget
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.shared_budget import shared_budget, with_ledger

__all__ = ["beneath", "check_depth", "under_handoff"]


@asynccontextmanager
async def under_handoff(asked: Asked) -> AsyncGenerator[Asked]:
    """The same below what the environment hands over, until the block ends.

    Nothing changes where it hands over nothing, or where the caller did.

    Raises:
        UsageError: it names a lease that cannot be redeemed.
        SpawnRefused: who gave the lease allows no agents below it.
        MissingPackage: it names a lease, and no package can redeem it.
    """
    if asked.received is not None or not os.environ.get(LEASE_VARIABLE):
        yield asked
        return
    if asked.registry.budget is None:
        raise MissingPackage("a run under the lease of another process", "sashizu-budget")
    async with asked.registry.budget.open() as budget:
        received = Handoff.from_env(os.environ, budget)
        assert received is not None
        try:
            check_depth(received)
            yield beneath(asked, received, budget)
        finally:
            received.node.close()


def check_depth(received: Received) -> None:
    """Refuse agents where none may come below.

    Raises:
        SpawnRefused: whoever gave the lease is as deep as agents may go.
    """
    if received.handoff.depth_left < 1:
        raise SpawnRefused(
            "no agent is started: who gave the lease is as deep as agents may go",
            limit="depth",
            allowed=0,
        )


def beneath(asked: Asked, received: Received, budget: Budget) -> Asked:
    """The same run below what was handed over; `budget` is where its lease was redeemed.

    Raises:
        BudgetRefused: its time is over.
        UsageError: what is above is recorded, and this would not be.
    """
    if received.handoff.recorded and not asked.audit:
        raise UsageError("the run above is recorded, and so is what happens below: no --no-audit")
    seconds = asked.deadline_s
    if received.handoff.deadline is not None:
        left = received.handoff.deadline - time()
        if left <= 0:
            raise BudgetRefused("lease", "seconds", 1, 0, closed=True)
        seconds = left if seconds is None else min(seconds, left)
    return replace(
        asked,
        received=received,
        deadline_s=seconds,
        registry=with_ledger(asked.registry, shared_budget(budget, received.node)),
    )

"""A ledger whose trees hang below one node: that of a server, or of a lease."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Protocol, runtime_checkable

from sashizu_core.handoff import Lease, Leased, LeasingBudget
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Budget, BudgetNode, Busy, Refused, ShiftingBudget
from sashizu_core.types import Amount, Bound, Limits, ModelInfo, Price, Usage

__all__ = ["SharedBudget", "shared_budget", "with_ledger"]


class SharedBudget:
    """The ledger as runs below a node see it: the root of each is a child of that node."""

    def __init__(self, budget: Budget, node: BudgetNode) -> None:
        self._budget = budget
        self.node = node

    def root(self, name: str, limits: Limits) -> BudgetNode:
        """A run's node, below the shared one."""
        return self.node.open(name, limits)

    def price_of(self, info: ModelInfo) -> Price | None:
        return self._budget.price_of(info)

    def quote(self, info: ModelInfo, bound: Bound) -> Amount:
        return self._budget.quote(info, bound)

    def bill(self, info: ModelInfo, usage: Usage) -> Amount:
        return self._budget.bill(info, usage)

    def shrink(self, node: BudgetNode, info: ModelInfo, bound: Bound) -> Bound | None:
        return self._budget.shrink(node, info, bound)


class _LeasingShared(SharedBudget):
    """The same over a ledger whose shares other processes can draw on."""

    def __init__(self, budget: LeasingBudget, node: BudgetNode) -> None:
        super().__init__(budget, node)
        self._leasing = budget

    def lease(
        self,
        node: BudgetNode,
        name: str,
        limits: Limits,
        *,
        depth: int = 0,
        expires_at: float | None = None,
        terms: str = "",
    ) -> Lease | Busy | Refused:
        return self._leasing.lease(
            node, name, limits, depth=depth, expires_at=expires_at, terms=terms
        )

    def redeem(self, lease_id: str) -> Leased:
        return self._leasing.redeem(lease_id)


class _ShiftingShared(_LeasingShared):
    """The same over a ledger that can pass on unspent shares as well."""

    def __init__(self, budget: _LeasingAndShifting, node: BudgetNode) -> None:
        super().__init__(budget, node)
        self._shifting = budget

    def shift(self, giver: BudgetNode, taker: BudgetNode, amount: Amount) -> Amount:
        return self._shifting.shift(giver, taker, amount)


@runtime_checkable
class _LeasingAndShifting(LeasingBudget, ShiftingBudget, Protocol):
    """A ledger that can do both."""


def shared_budget(budget: Budget, node: BudgetNode) -> SharedBudget:
    """A ledger whose trees hang below a node; it can lease if the given one can.

    It can pass on unspent shares as well where the given one can do both.
    """
    if isinstance(budget, _LeasingAndShifting):
        return _ShiftingShared(budget, node)
    if isinstance(budget, LeasingBudget):
        return _LeasingShared(budget, node)
    return SharedBudget(budget, node)


def with_ledger(registry: Registry, budget: Budget) -> Registry:
    """The registry with a ledger that is open already, and that its users do not close."""
    if registry.budget is None:
        return registry

    @asynccontextmanager
    async def opened() -> AsyncIterator[Budget]:
        yield budget

    def open_() -> AbstractAsyncContextManager[Budget]:
        return opened()

    return replace(registry, budget=replace(registry.budget, open=open_))

"""One ledger for everything that a server's clients start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace

from sashizu_core.plugins import Registry
from sashizu_core.protocols import Budget, BudgetNode
from sashizu_core.specs import BudgetSpec
from sashizu_core.types import Amount, Bound, Limits, ModelInfo, Price, Usage

__all__ = ["SharedBudget", "share_budget"]


class SharedBudget:
    """The ledger as runs of the server see it: the root of each hangs below the server's."""

    def __init__(self, budget: Budget, node: BudgetNode) -> None:
        self._budget = budget
        self.node = node

    def root(self, name: str, limits: Limits) -> BudgetNode:
        """A run's node, below the server's."""
        return self.node.open(name, limits)

    def price_of(self, info: ModelInfo) -> Price | None:
        return self._budget.price_of(info)

    def quote(self, info: ModelInfo, bound: Bound) -> Amount:
        return self._budget.quote(info, bound)

    def bill(self, info: ModelInfo, usage: Usage) -> Amount:
        return self._budget.bill(info, usage)

    def shrink(self, node: BudgetNode, info: ModelInfo, bound: Bound) -> Bound | None:
        return self._budget.shrink(node, info, bound)


async def share_budget(
    registry: Registry, limits: Limits, stack: AsyncExitStack
) -> tuple[Registry, SharedBudget | None]:
    """Open the ledger once, under the server's limits; the registry gives it to every run."""
    if registry.budget is None:
        return registry, None
    budget = await stack.enter_async_context(registry.budget.open())
    shared = SharedBudget(budget, budget.root("mcp-server", limits))

    @asynccontextmanager
    async def opened() -> AsyncIterator[Budget]:
        yield shared

    def open_() -> AbstractAsyncContextManager[Budget]:
        return opened()

    spec = BudgetSpec(registry.budget.name, registry.budget.summary, open_)
    return replace(registry, budget=spec), shared

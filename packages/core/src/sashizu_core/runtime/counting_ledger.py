"""A ledger that only counts: what a replay repeats was allowed, and paid, by another one."""

from __future__ import annotations

from sashizu_core.ids import uuid7
from sashizu_core.protocols import BudgetNode
from sashizu_core.types import (
    Amount,
    Bound,
    BudgetState,
    Limits,
    ModelInfo,
    Price,
    Usage,
)

__all__ = ["CountingLedger"]


class _Counted:
    """What is booked is counted up to the root; nothing is refused."""

    def __init__(self, node: _Node, amount: Amount) -> None:
        self.amount = amount
        self._node = node
        self._open = True

    def settle(self, actual: Amount) -> Amount:
        if self._open:
            self._open = False
            self._node.count(actual)
        return Amount()

    def charge(self) -> None:
        self.settle(self.amount)

    def release(self) -> None:
        self._open = False


class _Node:
    def __init__(self, name: str, limits: Limits, above: _Node | None = None) -> None:
        self.node_id = uuid7()
        self.name = name
        self._limits = limits
        self._above = above
        self._spent = Amount()

    def count(self, amount: Amount) -> None:
        self._spent = self._spent + amount
        if self._above is not None:
            self._above.count(amount)

    def open(self, name: str, limits: Limits) -> BudgetNode:
        return _Node(name, limits, self)

    def reserve(self, amount: Amount) -> _Counted:
        return _Counted(self, amount)

    async def room(self, amount: Amount) -> None:
        """There always is."""

    def left(self, unit: str) -> int | None:
        """As a ledger that limits nothing has it, but where a limit is: there, nothing is known."""
        return 0 if self.limited(unit) else None

    def limited(self, unit: str) -> bool:
        own = getattr(self._limits, unit) is not None
        return own or (self._above is not None and self._above.limited(unit))

    def state(self) -> BudgetState:
        return BudgetState(self.node_id, self.name, self._limits, self._spent, Amount(), Amount())

    def close(self) -> BudgetState:
        return self.state()


class CountingLedger:
    """Books what is settled, asks no price list, and refuses nothing."""

    def root(self, name: str, limits: Limits) -> BudgetNode:
        return _Node(name, limits)

    def price_of(self, info: ModelInfo) -> Price:  # noqa: ARG002 - as `Budget` has it
        return Price(0, 0)

    def quote(self, info: ModelInfo, bound: Bound) -> Amount:  # noqa: ARG002
        return Amount(tokens=bound.tokens, requests=1)

    def bill(self, info: ModelInfo, usage: Usage) -> Amount:  # noqa: ARG002
        return Amount(tokens=usage.tokens, requests=usage.requests)

    def shrink(self, node: BudgetNode, info: ModelInfo, bound: Bound) -> Bound | None:  # noqa: ARG002
        return None

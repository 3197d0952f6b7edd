"""The ledger of a process, and what model calls cost in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING

from sashizu_core.drawing import Source
from sashizu_core.handoff import Lease, Leased
from sashizu_core.home import state_home
from sashizu_core.protocols import BudgetNode, Busy, Refused
from sashizu_core.types import Amount, Bound, Limits, ModelInfo, Price, Usage

from sashizu_budget.nodes import Node
from sashizu_budget.prices import FREE, PriceList, billed_nusd, dearest_rates

if TYPE_CHECKING:
    from sashizu_budget.drawing import DrawingNode
    from sashizu_budget.drawn import Drawn
    from sashizu_budget.spend_connection import SpendFile
    from sashizu_budget.spend_store import SpendStore

__all__ = ["Ledger"]


class Ledger:
    """Budgets for any number of trees, and one price list for all of them.

    `spend` is the file of leases and windows; None takes `spend.sqlite` in the state folder.
    `project` is the workspace folder; None takes the working directory. `now_ns` is the wall clock.
    """

    def __init__(
        self,
        prices: PriceList | None = None,
        *,
        spend: Path | None = None,
        project: Path | None = None,
        now_ns: Callable[[], int] = time_ns,
    ) -> None:
        self._prices = prices or PriceList()
        self._spend = spend
        self._project = project
        self._now_ns = now_ns
        self._opened: SpendFile | None = None
        self._store: SpendStore | None = None
        self._drawing: list[Drawn] = []

    def root(self, name: str, limits: Limits) -> Node | DrawingNode:
        """Begin a tree, below the windows of spend where any is limited.

        Raises:
            ValueError: a limit is below zero.
            SashizuError: the windows cannot be read.
        """
        path = self._spend or state_home() / "spend.sqlite"
        if not path.exists():  # nobody ever set a limit
            return Node(name, limits)
        from sashizu_budget.drawn import Drawn
        from sashizu_budget.windows import Windows

        project = self._project or Path.cwd()
        source = Windows(self._file(), str(project.resolve())).source()
        if source is None:
            return Node(name, limits)
        return self._rooted(Drawn(source, name, limits))

    def close(self) -> None:
        """Charge what is still held of what was drawn, give back the rest, and close the file."""
        for drawn in self._drawing:
            drawn.end()
        if self._opened is not None:
            self._opened.close()

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
        """Reserve a share that another process can draw on; see `LeasingBudget`.

        Raises:
            UsageError: a limit is missing.
            SpawnRefused: the lease that the node lives on allows no further level.
            SashizuError: the row cannot be written.
        """
        from sashizu_budget.leases import give_lease

        return give_lease(
            self._leases(), node, name, limits, depth=depth, expires_at=expires_at, terms=terms
        )

    def redeem(self, lease_id: str) -> Leased:
        """Draw on a lease from now on; close its node to give back what is left.

        Raises:
            UsageError: there is none, it has ended, or who gave it is gone.
            SashizuError: the row cannot be read.
        """
        from sashizu_budget.leases import redeem_lease

        return redeem_lease(self._leases(), lease_id)

    def drawn_from(self, source: Source) -> DrawingNode:
        """Begin a tree on rows of somebody else's; see `DrawingBudget`."""
        from sashizu_budget.drawn import Drawn

        return self._rooted(Drawn(source))

    def _rooted(self, drawn: Drawn) -> DrawingNode:
        from sashizu_budget.drawing import DrawingNode

        self._drawing = [each for each in self._drawing if not each.left] + [drawn]
        return DrawingNode(drawn, drawn.top)

    def _file(self) -> SpendFile:
        if self._opened is None:
            from sashizu_budget.spend_connection import SpendFile

            self._opened = SpendFile(
                self._spend or state_home() / "spend.sqlite", now_ns=self._now_ns
            )
        return self._opened

    def shift(self, giver: BudgetNode, taker: BudgetNode, amount: Amount) -> Amount:
        """Pass on what a node has left to a sibling; see `ShiftingBudget`.

        Raises:
            ValueError: they are no siblings, or a quantity is below zero.
        """
        from sashizu_budget.shifting import shift

        return shift(giver, taker, amount)

    def _leases(self) -> SpendStore:
        if self._store is None:
            from sashizu_budget.spend_store import SpendStore

            self._store = SpendStore(self._file())
        return self._store

    def price_of(self, info: ModelInfo) -> Price | None:
        """The price of a model, or None when none is known.

        Its own price comes first, then the settings, then the shipped list. What runs on this
        machine, or is no language model at all, costs nothing.
        """
        if info.price is not None:
            return info.price
        if info.local or not info.bills_tokens:
            return FREE
        return self._prices.find(info.name)

    def quote(self, info: ModelInfo, bound: Bound) -> Amount:
        """What one attempt may cost at most; without a known price, no USD."""
        price = self.price_of(info)
        nusd = 0
        if price is not None:
            input_rate, output_rate = dearest_rates(price, bound)
            nusd = bound.input_tokens * input_rate + bound.output_tokens * output_rate
            nusd += price.per_request
        return Amount(tokens=bound.tokens, nusd=nusd, requests=1)

    def bill(self, info: ModelInfo, usage: Usage) -> Amount:
        """What an attempt did cost; without a known price, no USD."""
        price = self.price_of(info)
        return Amount(
            tokens=max(0, usage.input_tokens) + max(0, usage.output_tokens),
            nusd=0 if price is None else billed_nusd(price, usage),
            requests=max(0, usage.requests),
        )

    def shrink(self, node: BudgetNode, info: ModelInfo, bound: Bound) -> Bound | None:
        """The same input with the largest output that fits now, or None."""
        output = self._largest_output(node, info, bound)
        if output is None:
            return None
        if output >= bound.output_tokens:
            return bound
        if output < info.min_output_tokens:
            return None
        return replace(bound, output_tokens=output, rule=f"{bound.rule}, output shrunk")

    def _largest_output(self, node: BudgetNode, info: ModelInfo, bound: Bound) -> int | None:
        """How many output tokens the limits leave room for, as far as they bound them."""
        if node.left("requests") == 0:
            return None
        output = bound.output_tokens
        if (tokens := node.left("tokens")) is not None:
            output = min(output, tokens - bound.input_tokens)
        if (nusd := node.left("nusd")) is not None:
            price = self.price_of(info)
            if price is None:
                return None
            input_rate, output_rate = dearest_rates(price, bound)
            for_output = nusd - price.per_request - bound.input_tokens * input_rate
            if for_output < 0:
                return None
            if output_rate:
                output = min(output, for_output // output_rate)
        return output if output >= 0 else None

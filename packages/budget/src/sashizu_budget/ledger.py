"""The ledger of a process, and what model calls cost in it."""

from __future__ import annotations

from dataclasses import replace

from sashizu_core.protocols import BudgetNode
from sashizu_core.types import Amount, Bound, Limits, ModelInfo, Price, Usage

from sashizu_budget.nodes import Node
from sashizu_budget.prices import FREE, PriceList, billed_nusd, dearest_rates

__all__ = ["Ledger"]


class Ledger:
    """Budgets for any number of trees, and one price list for all of them."""

    def __init__(self, prices: PriceList | None = None) -> None:
        self._prices = prices or PriceList()

    def root(self, name: str, limits: Limits) -> Node:
        """Begin a tree.

        Raises:
            ValueError: a limit is below zero.
        """
        return Node(name, limits)

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

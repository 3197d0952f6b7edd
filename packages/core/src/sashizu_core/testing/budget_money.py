"""What every ledger promises about prices, quotes and bills."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sashizu_core.protocols import Budget, Busy, Refused
from sashizu_core.testing.contract import Contract
from sashizu_core.types import Amount, Bound, Limits, ModelInfo, Price, Usage

__all__ = ["MoneyContract"]

PRICE = Price(input=1_000, output=8_000, cache_read=100, cache_write=1_250, per_request=7)
LONG = replace(
    PRICE, long_context_from=200_000, long_context_input=2_000, long_context_output=12_000
)
MODEL = ModelInfo("maker/model", "maker", price=PRICE, min_output_tokens=256)

_rates = st.integers(0, 200_000)
_some_rates = st.none() | _rates
_counts = st.integers(0, 2_000_000)

prices = st.builds(
    Price,
    input=_rates,
    output=_rates,
    cache_read=_some_rates,
    cache_write=_some_rates,
    long_context_from=st.none() | _counts,
    long_context_input=_some_rates,
    long_context_output=_some_rates,
    long_context_cache_read=_some_rates,
    long_context_cache_write=_some_rates,
    per_request=_rates,
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Bound, Usage]:
    """A bound, and what a call within it can be billed."""
    bound = Bound(draw(_counts), draw(_counts), "drawn")
    input_tokens = draw(st.integers(0, bound.input_tokens))
    read = draw(st.integers(0, input_tokens))
    write = draw(st.integers(0, input_tokens - read))
    output_tokens = draw(st.integers(0, bound.output_tokens))
    return bound, Usage(input_tokens, output_tokens, read, write)


# The ledger keeps nothing of a quote, so one for all examples is as good as many.
_settings = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    deadline=None,
)


class MoneyContract(Contract):
    """The part of `BudgetContract` that is about money."""

    def test_a_model_brings_its_own_price(self, budget: Budget) -> None:
        assert budget.price_of(MODEL) == PRICE

    @pytest.mark.parametrize(
        "info",
        [
            ModelInfo("here/model", "here", local=True),
            ModelInfo("offline", "offline", bills_tokens=False),
        ],
    )
    def test_what_runs_here_costs_nothing_but_its_tokens(
        self, budget: Budget, info: ModelInfo
    ) -> None:
        assert budget.quote(info, Bound(10, 5, "")) == Amount(tokens=15, requests=1)
        assert budget.bill(info, Usage(10, 5)) == Amount(tokens=15, requests=1)

    def test_an_unknown_price_is_said_to_be_unknown(self, budget: Budget) -> None:
        info = ModelInfo("nobody/no-such-model", "nobody")
        assert budget.price_of(info) is None
        assert budget.quote(info, Bound(10, 5, "")) == Amount(tokens=15, requests=1)
        assert budget.bill(info, Usage(10, 5)) == Amount(tokens=15, requests=1)

    def test_a_quote_takes_the_dearest_rate_of_the_input(self, budget: Budget) -> None:
        quoted = budget.quote(MODEL, Bound(1_000, 100, ""))
        assert quoted == Amount(tokens=1_100, nusd=1_000 * 1_250 + 100 * 8_000 + 7, requests=1)

    def test_a_quote_takes_the_long_context_only_where_it_can_apply(self, budget: Budget) -> None:
        info = replace(MODEL, price=LONG)
        below, above = Bound(200_000, 1, ""), Bound(200_001, 1, "")
        assert budget.quote(info, below).nusd == 200_000 * 1_250 + 8_000 + 7
        assert budget.quote(info, above).nusd == 200_001 * 2_000 + 12_000 + 7

    def test_a_bill_counts_each_kind_of_token_at_its_rate(self, budget: Budget) -> None:
        billed = budget.bill(MODEL, Usage(1_000, 100, 600, 300, 50))
        nusd = 100 * 1_000 + 600 * 100 + 300 * 1_250 + 100 * 8_000 + 7
        assert billed == Amount(tokens=1_100, nusd=nusd, requests=1)

    def test_a_long_call_is_billed_at_long_rates_throughout(self, budget: Budget) -> None:
        info = replace(MODEL, price=LONG)
        assert budget.bill(info, Usage(200_001, 1)).nusd == 200_001 * 2_000 + 12_000 + 7

    @_settings
    @given(prices, calls())
    def test_no_call_within_its_bound_is_billed_more_than_its_quote(
        self, budget: Budget, price: Price, call: tuple[Bound, Usage]
    ) -> None:
        bound, usage = call
        info = replace(MODEL, price=price)
        quoted, billed = budget.quote(info, bound), budget.bill(info, usage)
        assert billed.tokens <= quoted.tokens
        assert billed.nusd <= quoted.nusd
        assert billed.requests == quoted.requests == 1

    # --- shrinking --------------------------------------------------------------------------------

    def test_what_fits_is_not_shrunk(self, budget: Budget) -> None:
        run = budget.root("run", Limits(tokens=2_000))
        bound = Bound(1_000, 1_000, "text")
        assert budget.shrink(run, MODEL, bound) == bound

    @pytest.mark.parametrize("limits", [Limits(tokens=1_500), Limits(nusd=1_250_000 + 500 * 8_000)])
    def test_the_output_is_shrunk_to_the_largest_that_fits(
        self, budget: Budget, limits: Limits
    ) -> None:
        run = budget.root("run", limits)
        info = replace(MODEL, price=replace(PRICE, per_request=0))
        smaller = budget.shrink(run.open("agent", Limits()), info, Bound(1_000, 9_000, "text"))
        assert smaller is not None
        assert (smaller.input_tokens, smaller.output_tokens) == (1_000, 500)
        one_more = budget.quote(info, replace(smaller, output_tokens=501))
        assert isinstance(run.reserve(one_more), Refused)
        assert not isinstance(run.reserve(budget.quote(info, smaller)), Busy | Refused)

    def test_below_the_least_output_worth_a_call_there_is_nothing_to_shrink(
        self, budget: Budget
    ) -> None:
        bound = Bound(1_000, 9_000, "text")
        assert budget.shrink(budget.root("run", Limits(tokens=1_256)), MODEL, bound) is not None
        assert budget.shrink(budget.root("run", Limits(tokens=1_255)), MODEL, bound) is None
        assert budget.shrink(budget.root("run", Limits(requests=0)), MODEL, bound) is None

    def test_where_usd_are_limited_a_price_has_to_be_known(self, budget: Budget) -> None:
        unknown = ModelInfo("nobody/no-such-model", "nobody")
        bound = Bound(10, 500, "text")
        assert budget.shrink(budget.root("run", Limits(nusd=10**12)), unknown, bound) is None
        assert budget.shrink(budget.root("run", Limits(tokens=510)), unknown, bound) == bound

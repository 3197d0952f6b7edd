from __future__ import annotations

import re
import tomllib
from datetime import date
from decimal import Decimal
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_budget.ledger import Ledger
from sashizu_budget.prices import PriceEntry, PriceList, billed_nusd, shipped_prices
from sashizu_budget.settings import price_list
from sashizu_core.errors import ConfigError
from sashizu_core.settings import Settings
from sashizu_core.types import Bound, Limits, ModelInfo, Price, Usage

ENTRIES = tomllib.loads(
    files("sashizu_budget").joinpath("prices.toml").read_text("utf-8"), parse_float=Decimal
)


def test_there_are_prices_of_the_models_that_people_use() -> None:
    for name in ("openai/gpt-5", "openai/gpt-4o-mini", "anthropic/claude-opus-5-5"):
        assert PriceList().find(name) is not None


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_has_a_source_a_date_and_a_name_of_its_provider(name: str) -> None:
    entry = PriceEntry.model_validate(ENTRIES[name])
    assert re.fullmatch(r"[a-z]+/[a-z0-9.-]+", name)
    assert entry.source.startswith("https://")
    assert entry.date is not None
    assert entry.date >= date(2026, 8, 1)


@pytest.mark.parametrize("name", ENTRIES)
def test_every_entry_is_plausible(name: str) -> None:
    price = shipped_prices()[name]
    assert 0 < price.input <= price.output <= 1_000_000
    assert price.cache_read is None or 0 < price.cache_read < price.input
    assert price.cache_write is None or price.input <= price.cache_write <= 2 * price.input
    if price.long_context_from is not None:
        assert price.long_context_from >= 100_000
        assert price.long_context_input is not None
        assert price.long_context_input > price.input
        assert price.long_context_output is not None
        assert price.long_context_output > price.output
        assert (price.cache_write is None) == (price.long_context_cache_write is None)


@pytest.mark.parametrize("name", ENTRIES)
def test_no_shipped_rate_had_to_be_rounded(name: str) -> None:
    for key, value in ENTRIES[name].items():
        if isinstance(value, Decimal):
            assert value * 1000 % 1 == 0, key


def test_prices_are_read_in_usd_per_million_tokens() -> None:
    entry = PriceEntry(input="1.25", output=10, cache_read=0.125, per_request=0.005)  # type: ignore[arg-type]
    price = entry.price()
    assert (price.input, price.output, price.cache_read) == (1250, 10_000, 125)
    assert price.per_request == 5_000_000


def test_a_rate_finer_than_the_ledger_counts_is_rounded_up() -> None:
    assert PriceEntry(input="0.0028", output=1).price().input == 3  # type: ignore[arg-type]


# --- finding --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openai/gpt-5-2025-08-07", "openai/gpt-5-20250807"])
def test_a_snapshot_costs_what_its_model_costs(name: str) -> None:
    assert PriceList().find(name) == PriceList().find("openai/gpt-5")


def test_a_snapshot_with_a_price_of_its_own_keeps_it() -> None:
    snapshot = PriceList().find("openai/gpt-4o-2024-05-13")
    assert snapshot is not None
    assert snapshot != PriceList().find("openai/gpt-4o")


@pytest.mark.parametrize(
    "name",
    [
        "openai/gpt-5-turbo-nano",
        "openai/gpt-5-2025",
        "openai/gpt-5-2025-08-07-preview",
        "gpt-5",
        "router/openai/gpt-5",
        "",
        "openai/",
    ],
)
def test_a_name_that_is_only_similar_has_no_price(name: str) -> None:
    assert PriceList().find(name) is None


def test_own_prices_come_before_shipped_ones() -> None:
    own = Price(1, 2)
    prices = PriceList({"openai/gpt-5": own, "mine/model": own})
    assert prices.find("openai/gpt-5") == prices.find("mine/model") == own
    assert prices.find("openai/gpt-5-2025-08-07") == own
    assert prices.all()["openai/gpt-5"] == own
    assert set(prices.all()) == {*shipped_prices(), "mine/model"}
    assert list(prices.all()) == sorted(prices.all())


def test_the_settings_name_prices() -> None:
    table = {"prices": {"mine/model": {"input": 0.5, "output": 2.0, "date": "2026-11-20"}}}
    price = price_list(Settings({"budget": table})).find("mine/model")
    assert price == Price(500, 2000, source="settings", date="2026-11-20")


@pytest.mark.parametrize(
    "entry",
    [
        {"input": 1.0},
        {"input": -1.0, "output": 1.0},
        {"input": "free", "output": 1.0},
        {"input": 1.0, "output": 1.0, "cashed": 0.1},
        {"input": float("nan"), "output": 1.0},
        {"input": float("inf"), "output": 1.0},
    ],
)
def test_a_wrong_price_in_the_settings_is_a_configuration_error(entry: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="mine/model"):
        price_list(Settings({"budget": {"prices": {"mine/model": entry}}}))


def test_the_price_of_a_model_comes_before_the_settings() -> None:
    own = Price(7, 8)
    ledger = Ledger(PriceList({"openai/gpt-5": Price(1, 2)}))
    assert ledger.price_of(ModelInfo("openai/gpt-5", "openai", price=own)) == own
    assert ledger.price_of(ModelInfo("openai/gpt-5", "openai")) == Price(1, 2)


# --- billing --------------------------------------------------------------------------------------


def test_a_missing_cache_rate_is_that_of_the_input() -> None:
    assert billed_nusd(Price(10, 1), Usage(100, 0, 40, 50)) == 1000
    long = Price(
        10, 1, cache_read=1, long_context_from=50, long_context_input=20, long_context_output=2
    )
    assert billed_nusd(long, Usage(100, 10, 100)) == 100 * 20 + 10 * 2


def test_a_long_tier_without_rates_costs_what_the_short_one_does() -> None:
    price = Price(10, 3, long_context_from=50)
    assert billed_nusd(price, Usage(100, 10)) == 100 * 10 + 10 * 3


@given(*[st.integers(-10, 200)] * 5)
def test_a_report_that_contradicts_itself_is_billed_within_its_totals(
    read: int, write: int, plain: int, output: int, requests: int
) -> None:
    price = Price(10, 20, cache_read=1, cache_write=12, per_request=5)
    bill = billed_nusd(price, Usage(plain, output, read, write, requests=requests))
    most = max(0, plain) * 12 + max(0, output) * 20 + max(0, requests) * 5
    assert 0 <= bill <= most


def test_a_bill_is_never_below_zero() -> None:
    bill = Ledger().bill(ModelInfo("x/y", "x", price=Price(1, 1)), Usage(-5, -5, requests=-1))
    assert (bill.tokens, bill.nusd, bill.requests) == (0, 0, 0)


# --- shrinking ------------------------------------------------------------------------------------


def test_a_shrunk_bound_says_so() -> None:
    ledger = Ledger()
    smaller = ledger.shrink(
        ledger.root("run", Limits(tokens=1000)), ModelInfo("x/y", "x"), Bound(500, 900, "text")
    )
    assert smaller == Bound(500, 500, "text, output shrunk")


def test_where_the_input_alone_does_not_fit_there_is_nothing_to_shrink() -> None:
    ledger, info = Ledger(), ModelInfo("x/y", "x", price=Price(10, 10), min_output_tokens=0)
    bound = Bound(500, 900, "text")
    assert ledger.shrink(ledger.root("run", Limits(tokens=499)), info, bound) is None
    assert ledger.shrink(ledger.root("run", Limits(nusd=4999)), info, bound) is None


def test_a_cap_below_the_floor_that_fits_is_left_alone() -> None:
    ledger, info = Ledger(), ModelInfo("x/y", "x", min_output_tokens=256)
    bound = Bound(500, 100, "text")
    assert ledger.shrink(ledger.root("run", Limits(tokens=600)), info, bound) == bound
    assert ledger.shrink(ledger.root("run", Limits(tokens=599)), info, bound) is None


def test_output_that_costs_nothing_is_not_shrunk_for_money() -> None:
    ledger, info = Ledger(), ModelInfo("x/y", "x", price=Price(10, 0))
    bound = Bound(500, 900, "text")
    assert ledger.shrink(ledger.root("run", Limits(nusd=5000)), info, bound) == bound

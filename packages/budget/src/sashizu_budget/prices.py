"""What models cost: the price list, upper bounds before a call, and bills after it.

All money is in whole 10⁻⁹ USD (`nusd`), so that sums are exact. One USD per million tokens is 1,000
of them per token; a rate that is finer is rounded up.
"""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import Field
from sashizu_core.settings import Table
from sashizu_core.types import Bound, Price, Usage

__all__ = ["FREE", "PriceEntry", "PriceList", "billed_nusd", "dearest_rates", "shipped_prices"]

FREE = Price(0, 0, source="runs on this machine")
"""The price of what costs no money."""

SNAPSHOT = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8})")
"""How names of snapshots end: `-2025-08-07` or `-20250807`."""

Usd = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class PriceEntry(Table):
    """The price of one model, in USD per million tokens; `per_request` in USD per request.

    `source` and `date` say where the figures come from.
    """

    input: Usd
    output: Usd
    cache_read: Usd | None = None
    cache_write: Usd | None = None
    long_context_from: Annotated[int, Field(ge=0)] | None = None
    long_context_input: Usd | None = None
    long_context_output: Usd | None = None
    long_context_cache_read: Usd | None = None
    long_context_cache_write: Usd | None = None
    per_request: Usd = Decimal(0)
    source: str = ""
    date: datetime.date | None = None

    def price(self, *, source: str = "") -> Price:
        """The entry in 10⁻⁹ USD per token; `source` stands in where it names none."""
        return Price(
            input=_per_token(self.input),
            output=_per_token(self.output),
            cache_read=_maybe_per_token(self.cache_read),
            cache_write=_maybe_per_token(self.cache_write),
            long_context_from=self.long_context_from,
            long_context_input=_maybe_per_token(self.long_context_input),
            long_context_output=_maybe_per_token(self.long_context_output),
            long_context_cache_read=_maybe_per_token(self.long_context_cache_read),
            long_context_cache_write=_maybe_per_token(self.long_context_cache_write),
            per_request=_whole(self.per_request * 1_000_000_000),
            source=self.source or source,
            date=self.date.isoformat() if self.date else "",
        )


def _whole(nusd: Decimal) -> int:
    return int(nusd.to_integral_value(ROUND_CEILING))


def _per_token(usd_per_million: Decimal) -> int:
    return _whole(usd_per_million * 1000)


def _maybe_per_token(usd_per_million: Decimal | None) -> int | None:
    return None if usd_per_million is None else _per_token(usd_per_million)


@cache
def shipped_prices() -> Mapping[str, Price]:
    """The prices that come with this package, by full name of the model (`openai/gpt-5`)."""
    text = files("sashizu_budget").joinpath("prices.toml").read_text("utf-8")
    entries = tomllib.loads(text, parse_float=Decimal)
    return {name: PriceEntry.model_validate(entry).price() for name, entry in entries.items()}


class PriceList:
    """The shipped prices, and what the settings put in their place.

    A snapshot (`openai/gpt-5-2025-08-07`) that is not listed costs what its model costs.
    """

    def __init__(self, own: Mapping[str, Price] | None = None) -> None:
        self._own = dict(own or {})

    def find(self, name: str) -> Price | None:
        """The price of a model by its full name, or None when none is known."""
        for candidate in (name, _model_of(name)):
            if (own := self._own.get(candidate)) is not None:
                return own
            if (shipped := shipped_prices().get(candidate)) is not None:
                return shipped
        return None

    def all(self) -> dict[str, Price]:
        """Every known price, by full name of the model, sorted."""
        return dict(sorted({**shipped_prices(), **self._own}.items()))


def _model_of(name: str) -> str:
    found = SNAPSHOT.search(name)
    return name[: found.start()] if found is not None and found.end() == len(name) else name


def _long_context_rates(price: Price) -> tuple[int, int, int, int]:
    """Input, cache read, cache write and output; what is not given is that of the tier's input."""
    plain = price.input if price.long_context_input is None else price.long_context_input
    read, write = price.long_context_cache_read, price.long_context_cache_write
    output = price.output if price.long_context_output is None else price.long_context_output
    return plain, plain if read is None else read, plain if write is None else write, output


def _rates(price: Price) -> tuple[int, int, int, int]:
    plain, read, write = price.input, price.cache_read, price.cache_write
    return plain, plain if read is None else read, plain if write is None else write, price.output


def dearest_rates(price: Price, bound: Bound) -> tuple[int, int]:
    """The most that an input and an output token of a call within the bound can cost."""
    *inputs, output = _rates(price)
    if price.long_context_from is not None and bound.input_tokens > price.long_context_from:
        *long_inputs, long_output = _long_context_rates(price)
        return max(*inputs, *long_inputs), max(output, long_output)
    return max(inputs), output


def billed_nusd(price: Price, usage: Usage) -> int:
    """What one call costs, exactly.

    The cached share of the input is never more than the input, whatever a provider reports.
    """
    input_tokens = max(0, usage.input_tokens)
    long = price.long_context_from is not None and input_tokens > price.long_context_from
    plain_rate, read_rate, write_rate, output_rate = (
        _long_context_rates(price) if long else _rates(price)
    )
    read = min(max(0, usage.cache_read_tokens), input_tokens)
    write = min(max(0, usage.cache_write_tokens), input_tokens - read)
    plain = input_tokens - read - write
    return (
        plain * plain_rate
        + read * read_rate
        + write * write_rate
        + max(0, usage.output_tokens) * output_rate
        + max(0, usage.requests) * price.per_request
    )

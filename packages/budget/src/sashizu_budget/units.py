"""Amounts as four whole numbers, in the order of `UNITS`."""

from __future__ import annotations

from decimal import Decimal

from sashizu_core.drawing import Four
from sashizu_core.types import UNITS, Amount, Limits

__all__ = [
    "ENDLESS",
    "Four",
    "amount_text",
    "ceilings",
    "first_asked",
    "four",
    "index_of",
    "usd_text",
]

ENDLESS = 1 << 100
"""The ceiling of a unit without a limit; more than can ever be spent."""


def four(amount: Amount) -> Four:
    tokens, nusd, requests, agents = amount.tokens, amount.nusd, amount.requests, amount.agents
    if tokens < 0 or nusd < 0 or requests < 0 or agents < 0:
        raise ValueError(f"amounts are never below zero: {amount}")
    return tokens, nusd, requests, agents


def first_asked(asked: Four) -> int:
    """The unit that speaks for an amount: the first it asks anything of."""
    return next((i for i, wanted in enumerate(asked) if wanted), 0)


def ceilings(limits: Limits) -> Four:
    found = [getattr(limits, unit) for unit in UNITS]
    for unit, limit in zip(UNITS, found, strict=True):
        if limit is not None and limit < 0:
            raise ValueError(f"a limit is never below zero: {limit} {unit}")
    tokens, nusd, requests, agents = (ENDLESS if limit is None else limit for limit in found)
    return tokens, nusd, requests, agents


def index_of(unit: str) -> int:
    if unit not in UNITS:
        raise ValueError(f"the ledger does not count {unit!r}; it counts {', '.join(UNITS)}")
    return UNITS.index(unit)


def amount_text(unit: int, quantity: int) -> str:
    """A quantity for a person: `12,000 tokens`, `4.99 USD`."""
    if UNITS[unit] == "nusd":
        return f"{usd_text(quantity)} USD"
    return f"{quantity:,} {UNITS[unit]}"


def usd_text(nusd: int) -> str:
    """10⁻⁹ USD as USD, exactly: `4.99`."""
    return f"{Decimal(nusd).scaleb(-9).normalize():f}"

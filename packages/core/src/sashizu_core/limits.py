"""Limits as people write them: `60000`, `60k`, `2.5usd`, `40requests`, `12agents`, `15m`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from decimal import Decimal

from sashizu_core.errors import UsageError, nearest
from sashizu_core.types import Limits

__all__ = ["narrowed", "parse_budget_flags", "parse_duration", "parse_limit", "parse_limits"]

_NUSD_PER_USD = 1_000_000_000
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_COUNTED = {
    "": ("tokens", 1),
    "k": ("tokens", 1000),
    "token": ("tokens", 1),
    "tokens": ("tokens", 1),
    "usd": ("nusd", _NUSD_PER_USD),
    "request": ("requests", 1),
    "requests": ("requests", 1),
    "agent": ("agents", 1),
    "agents": ("agents", 1),
}
"""Suffix to the unit of the ledger and how many of it one is."""

_FORMS = (
    "write tokens (60000, 60k), dollars (2.5usd), requests (40requests), agents (12agents) "
    "or time (90s, 15m, 2h)"
)
_DURATION_FORMS = "write it as 90s, 15m or 2h"

# The numbers of digits keep every sum exact.
_QUANTITY = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))? ?([a-z]*)")


def parse_limit(text: str) -> Limits:
    """Read one limit, for example `60000` or `2.5usd`.

    Raises:
        UsageError: it is none, not above zero, or finer than the ledger counts.
    """
    number, suffix = _quantity(text, "limit", _FORMS)
    if suffix in _SECONDS:
        return Limits(seconds=float(number * _SECONDS[suffix]))
    if suffix not in _COUNTED:
        hint = nearest(suffix, [*_SECONDS, *filter(None, _COUNTED)])
        raise UsageError(f"unknown unit {suffix!r} in the limit {text!r}{hint}: {_FORMS}")
    unit, factor = _COUNTED[suffix]
    value = number * factor
    if value != int(value):
        raise UsageError(f"the limit {text!r} is no whole number of {_name(unit)}: {_FORMS}")
    if value >= 2**63:
        raise UsageError(f"the limit {text!r} is larger than anybody can count: {_FORMS}")
    return Limits(**{unit: int(value)})


def parse_limits(texts: Iterable[str]) -> Limits:
    """Read several limits as one; where a unit is given twice, the smaller counts.

    Raises:
        UsageError: one of them cannot be read.
    """
    limits = Limits()
    for text in texts:
        limits = narrowed(limits, parse_limit(text))
    return limits


def parse_budget_flags(texts: Iterable[str]) -> tuple[Limits, dict[str, Limits]]:
    """Read the values of `--budget`: the limits of the run, and those of agents by name.

    `60000` bounds the run, `code-reviewer=5000` the agent `code-reviewer`.

    Raises:
        UsageError: one of them cannot be read, or names no agent before its `=`.
    """
    run = Limits()
    agents: dict[str, Limits] = {}
    for text in texts:
        # Names of agents have no `=`, and neither has a limit.
        left, equals, right = text.partition("=")
        if not equals:
            run = narrowed(run, parse_limit(text))
            continue
        agent = left.strip()
        if not agent:
            raise UsageError(f"{text!r} names no agent: write AGENT=LIMIT, like code-reviewer=5000")
        agents[agent] = narrowed(agents.get(agent, Limits()), parse_limit(right))
    return run, agents


def parse_duration(text: str) -> float:
    """Read a duration such as `90s`, `15m`, `2h` or `1.5h`, in seconds.

    Raises:
        UsageError: it is none, or not above zero.
    """
    number, suffix = _quantity(text, "duration", _DURATION_FORMS)
    if suffix not in _SECONDS:
        raise UsageError(f"the duration {text!r} has no unit of time: {_DURATION_FORMS}")
    return float(number * _SECONDS[suffix])


def narrowed(limits: Limits, other: Limits) -> Limits:
    """The smaller of both in every unit; None is no limit."""
    smaller = {}
    for field in fields(Limits):
        given = [getattr(limits, field.name), getattr(other, field.name)]
        smaller[field.name] = min((value for value in given if value is not None), default=None)
    return Limits(**smaller)


def _quantity(text: str, what: str, forms: str) -> tuple[Decimal, str]:
    """Split into a number above zero and the lower-case suffix."""
    match = _QUANTITY.fullmatch(text.strip().lower())
    if match is None:
        raise UsageError(f"cannot read the {what} {text[:80]!r}: {forms}")
    minus, whole, fraction, suffix = match.groups()
    number = Decimal(f"{whole}.{fraction or 0}")
    if minus or number == 0:
        raise UsageError(f"the {what} {text!r} is not above zero: {forms}")
    return number, suffix


def _name(unit: str) -> str:
    return "10⁻⁹ USD" if unit == "nusd" else unit

"""How people write limits: `60000`, `2.5usd`, `40requests`, `15m`, `code-reviewer=5000`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal

from sashizu_core.errors import UsageError
from sashizu_core.types import Limits

__all__ = ["Budgets", "parse_budgets", "parse_duration", "parse_limit", "smaller_limits"]

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_NANO_USD = 1_000_000_000
_NUMBER = re.compile(r"(?P<number>-?\d+(?:\.\d+)?)\s*(?P<unit>[a-z]*)", re.ASCII)
_LARGEST = 10**15
"""Above every sensible limit, and far below what 64 bits hold."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """The limits of a run, and of single agents by name."""

    run: Limits = field(default_factory=Limits)
    agents: Mapping[str, Limits] = field(default_factory=dict)


def parse_duration(text: str) -> float:
    """Seconds of `90s`, `15m`, `2h` or `1.5h`.

    Raises:
        UsageError: it is something else, or not above zero.
    """
    number, unit = _split(text, "a duration such as '90s', '15m' or '2h'")
    if unit not in _SECONDS:
        raise UsageError(f"{text!r} is no duration: write it as '90s', '15m' or '2h'")
    return float(number * _SECONDS[unit])


def parse_limit(text: str) -> Limits:
    """One limit: tokens without a unit, else `usd`, `requests`, `agents`, `s`, `m` or `h`.

    Raises:
        UsageError: it is something else, or not above zero.
    """
    number, unit = _split(text, "a budget such as '60000', '2.5usd', '40requests' or '15m'")
    if unit in _SECONDS:
        return Limits(seconds=float(number * _SECONDS[unit]))
    if unit == "usd":
        return Limits(nusd=max(1, int(number * _NANO_USD)))
    if unit not in ("", "tokens", "requests", "agents"):
        raise UsageError(
            f"{text!r} is no budget: the unit {unit!r} is not known; "
            "known: none or tokens, usd, requests, agents, s, m, h"
        )
    if number != int(number):
        raise UsageError(f"{text!r} is no budget: {unit or 'tokens'} are counted in whole numbers")
    match unit:
        case "requests":
            return Limits(requests=int(number))
        case "agents":
            return Limits(agents=int(number))
        case _:
            return Limits(tokens=int(number))


def parse_budgets(texts: Iterable[str]) -> Budgets:
    """All `--budget` values of a run; `AGENT=LIMIT` bounds one agent.

    Where a unit is given twice the smaller counts.

    Raises:
        UsageError: one of them is no budget.
    """
    run = Limits()
    agents: dict[str, Limits] = {}
    for text in texts:
        agent, equals, limit = text.rpartition("=")
        if not equals:
            run = smaller_limits(run, parse_limit(text))
        elif not agent:
            raise UsageError(f"{text!r} names no agent before '='")
        else:
            agents[agent] = smaller_limits(agents.get(agent, Limits()), parse_limit(limit))
    return Budgets(run, agents)


def smaller_limits(one: Limits, other: Limits) -> Limits:
    """The smaller limit in every unit; None is no limit."""
    changes = {}
    for name in Limits.__slots__:
        values = [v for v in (getattr(one, name), getattr(other, name)) if v is not None]
        changes[name] = min(values, default=None)
    return replace(one, **changes)


def _split(text: str, wanted: str) -> tuple[Decimal, str]:
    found = _NUMBER.fullmatch(text.strip().lower())
    if found is None:
        raise UsageError(f"{text!r} is not {wanted}")
    number = Decimal(found["number"])
    if number <= 0:
        raise UsageError(f"{text!r} is not above zero; give {wanted}")
    if number > _LARGEST:
        raise UsageError(f"{text!r} is too large; give {wanted}")
    return number, found["unit"]

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import UsageError
from sashizu_core.limits import (
    narrowed,
    parse_budget_flags,
    parse_duration,
    parse_limit,
    parse_limits,
)
from sashizu_core.types import Limits


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("60000", Limits(tokens=60_000)),
        ("60k", Limits(tokens=60_000)),
        ("1.5k", Limits(tokens=1_500)),
        ("60000tokens", Limits(tokens=60_000)),
        (" 60000 ", Limits(tokens=60_000)),
        ("2.5usd", Limits(nusd=2_500_000_000)),
        ("2.5 USD", Limits(nusd=2_500_000_000)),
        ("0.000000001usd", Limits(nusd=1)),
        ("40requests", Limits(requests=40)),
        ("1request", Limits(requests=1)),
        ("12agents", Limits(agents=12)),
        ("90s", Limits(seconds=90.0)),
        ("15m", Limits(seconds=900.0)),
        ("2h", Limits(seconds=7200.0)),
        ("1.5h", Limits(seconds=5400.0)),
    ],
)
def test_a_limit_is_read_in_the_unit_of_its_suffix(text: str, limits: Limits) -> None:
    assert parse_limit(text) == limits


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0k",
        "0.0usd",
        "-5",
        "-2.5usd",
        "0s",
        "lots",
        "usd",
        "1e5",
        "1_000",
        "60,000",
        "$5",
        "5dollars",
        "5 5",
        "\uff11\uff12",
        "nan",
        "inf",
        "9" * 5000,
        "0.5",
        "1.5requests",
        "0.0001k",
        "0.0000000001usd",
        "=5",
        "5=5",
    ],
)
def test_what_is_no_limit_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"60000.*2\.5usd.*40requests.*12agents.*90s") as caught:
        parse_limit(text)
    assert len(str(caught.value)) < 400


def test_a_misspelt_unit_gets_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'requests'"):
        parse_limit("40reqests")


def test_several_limits_become_one() -> None:
    assert parse_limits(["60000", "2.5usd", "15m"]) == Limits(
        tokens=60_000, nusd=2_500_000_000, seconds=900.0
    )


def test_of_one_unit_given_twice_the_smaller_counts() -> None:
    assert parse_limits(["60000", "5k", "90k"]) == Limits(tokens=5000)


def test_no_limit_at_all_is_no_limit() -> None:
    assert parse_limits([]) == Limits()


def test_budget_flags_are_split_into_the_run_and_its_agents() -> None:
    run, agents = parse_budget_flags(
        ["60000", "code-reviewer=5000", "2usd", "repo:fixer=40requests", "code-reviewer=90s"]
    )
    assert run == Limits(tokens=60_000, nusd=2_000_000_000)
    assert agents == {
        "code-reviewer": Limits(tokens=5000, seconds=90.0),
        "repo:fixer": Limits(requests=40),
    }


@pytest.mark.parametrize("text", ["=5000", " =5000", "a=", "a=0", "a=b=5", "a=-1"])
def test_a_budget_flag_without_an_agent_or_a_limit_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_budget_flags([text])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("15m", 900.0), ("2h", 7200.0), ("0.5s", 0.5)]
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "0s", "-1m", "5d", "m", "2h30m", "60k", "tomorrow"])
def test_what_is_no_duration_is_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(UsageError, match="90s, 15m or 2h"):
        parse_duration(text)


def test_narrowed_takes_the_smaller_of_each_unit() -> None:
    one = Limits(tokens=10, nusd=None, requests=3, seconds=5.0, depth=2)
    other = Limits(tokens=20, nusd=7, requests=None, seconds=1.0)
    assert narrowed(one, other) == Limits(tokens=10, nusd=7, requests=3, seconds=1.0, depth=2)
    assert narrowed(one, other) == narrowed(other, one)


@given(st.decimals(Decimal("0.000000001"), Decimal(999_999), places=9))
def test_dollars_are_exact(usd: Decimal) -> None:
    assert parse_limit(f"{usd:f}usd").nusd == usd * 1_000_000_000


@given(st.text(max_size=30))
def test_any_text_is_a_limit_above_zero_or_a_usage_error(text: str) -> None:
    try:
        limits = parse_limit(text)
    except UsageError:
        return
    given_values = [value for value in (limits.tokens, limits.nusd, limits.requests) if value]
    given_values += [value for value in (limits.agents, limits.seconds) if value]
    assert len(given_values) == 1
    assert given_values[0] > 0


@pytest.mark.parametrize("text", ["9223372037usd", "999999999999usd"])
def test_a_limit_that_nobody_can_count_is_refused(text):
    with pytest.raises(UsageError, match="larger than"):
        parse_limit(text)


def test_the_largest_limits_are_counted():
    assert parse_limit("9223372036usd").nusd == 9223372036 * 10**9
    assert parse_limit("999999999999k").tokens == 999999999999000

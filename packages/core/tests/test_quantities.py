import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import UsageError
from sashizu_core.quantities import parse_budgets, parse_duration, parse_limit, smaller_limits
from sashizu_core.types import Limits


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1.5h", 5400), (" 2 H ", 7200)]
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "m", "1d", "-1s", "0s", "1h30m", "٣s", "1e3s", "inf"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("60000", Limits(tokens=60000)),
        ("60000tokens", Limits(tokens=60000)),
        ("2.5usd", Limits(nusd=2_500_000_000)),
        ("0.0000000001usd", Limits(nusd=1)),
        ("40requests", Limits(requests=40)),
        ("3agents", Limits(agents=3)),
        ("15m", Limits(seconds=900)),
    ],
)
def test_a_budget_is_a_limit_of_one_unit(text: str, limit: Limits) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "0", "-5", "1.5", "5apples", "0usd", "9" * 20, "nan"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="budget"):
        parse_limit(text)


def test_budgets_of_the_run_and_of_agents_are_kept_apart() -> None:
    budgets = parse_budgets(["60000", "2usd", "a=5000", "a=3requests", "repo:b=7", "a=4000"])
    assert budgets.run == Limits(tokens=60000, nusd=2_000_000_000)
    assert budgets.agents == {
        "a": Limits(tokens=4000, requests=3),
        "repo:b": Limits(tokens=7),
    }


def test_a_budget_without_an_agent_before_the_equals_sign_is_refused() -> None:
    with pytest.raises(UsageError, match="names no agent"):
        parse_budgets(["=5"])


LIMITS = st.builds(
    Limits,
    tokens=st.none() | st.integers(1, 9),
    seconds=st.none() | st.floats(1, 9),
    depth=st.none() | st.integers(1, 9),
)


@given(LIMITS, LIMITS)
def test_the_smaller_of_two_limits_is_never_wider_than_either(one: Limits, other: Limits) -> None:
    both = smaller_limits(one, other)
    assert both == smaller_limits(other, one)
    assert smaller_limits(one, one) == one
    for name in Limits.__slots__:
        smaller = getattr(both, name)
        for value in (getattr(one, name), getattr(other, name)):
            assert value is None or smaller <= value


@given(st.text())
def test_any_text_is_a_budget_or_a_usage_error(text: str) -> None:
    try:
        budgets = parse_budgets([text])
    except UsageError:
        return
    assert budgets.run != Limits() or budgets.agents

"""What a run may use at most, and what it is likely to use, before anything is spent.

The worst case follows from limits, from the turns an agent may take and from what its model takes
and answers at most; where none of these bounds it, there is none. What is likely is the median of
what earlier runs of the same agent and model used; where there are none, nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sashizu_core.protocols import Budget
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.spawning import spawns
from sashizu_core.turn.attempts import BILLED_RETRIES
from sashizu_core.turn.windows import LIMITABLE, nearly_used_up, window_text
from sashizu_core.types import Bound, Limits, ModelInfo, Price, SpendWindow

__all__ = [
    "AgentForecast",
    "Cost",
    "Forecast",
    "Likely",
    "ToldWindow",
    "exceeds",
    "forecast_of",
    "told_windows",
    "worst_case",
]

N = TypeVar("N", int, float)

BILLED_ATTEMPTS = 1 + BILLED_RETRIES
"""How many attempts at one answer may be billed; see `RetryPlan`."""

CUT_OFF = 2
"""How many times as long an answer may be after one that was cut off; see `AgentLoop`."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What is used at most. None is not bounded: of `nusd` also where there is no price."""

    tokens: int | None
    nusd: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Likely:
    """Medians over `runs` earlier runs of the same agent and model."""

    runs: int
    tokens: int
    nusd: int
    seconds: float


@dataclass(frozen=True, slots=True)
class AgentForecast:
    """One agent of a run. `likely` is None where there is no earlier run to go by.

    `unpriced` are those of its models whose price nobody knows.
    """

    agent: str
    model: str
    goal: str
    tools: tuple[str, ...]
    worst: Cost
    likely: Likely | None = None
    fallback: str | None = None
    unpriced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ToldWindow:
    """One limit of a window of spend, in its unit. `told` is what people read of it.

    `nearly` says that as much of it is spent as `run.warn_at` says.
    """

    name: str
    unit: str
    limit: int
    spent: int
    left: int
    nearly: bool
    told: str


@dataclass(frozen=True, slots=True)
class Forecast:
    """A run: its agents, and all of them together. `likely` is known if it is of every agent.

    `windows` are the limits that it shares with all other runs.
    """

    run_id: str
    agents: tuple[AgentForecast, ...]
    worst: Cost
    likely: Cost | None
    windows: tuple[ToldWindow, ...] = ()

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The models whose price nobody knows."""
        return tuple(dict.fromkeys(name for agent in self.agents for name in agent.unpriced))


def worst_case(
    plan: AgentPlan,
    infos: Sequence[ModelInfo],
    budget: Budget | None,
    *,
    max_turns: int,
    max_output: int,
) -> Cost:
    """What one agent, with all that it starts, may use at most.

    `infos` are its model and its fallback: each call may be the dearer one's. `max_output` is in
    tokens.
    """
    limits = plan.limits
    if plan.engine or spawns(plan):  # how often those ask, and which models, is for them to say
        return Cost(limits.tokens, limits.nusd, plan.deadline_s)
    calls = (max_turns + len(infos) - 1) * BILLED_ATTEMPTS  # a fallback tries again what failed
    calls = calls if limits.requests is None else min(calls, limits.requests)
    bounds = [bound for info in infos if (bound := _largest(info, max_output)) is not None]
    tokens, most = limits.tokens, [limits.nusd]
    if len(bounds) == len(infos):
        tokens = _smaller(tokens, calls * max(bound.tokens for bound in bounds))
    prices = [budget.price_of(info) for info in infos] if budget is not None else []
    known = [price for price in prices if price is not None]
    if budget is None or len(known) < len(infos):
        return Cost(tokens, limits.nusd, plan.deadline_s)
    if len(bounds) == len(infos):
        pairs = zip(infos, bounds, strict=True)
        most.append(calls * max(budget.quote(info, bound).nusd for info, bound in pairs))
    rate, fee = max(map(_dearest, known)), max(price.per_request for price in known)
    if tokens is not None or not rate:
        most.append((tokens or 0) * rate + calls * fee)
    return Cost(tokens, _smaller(*most), plan.deadline_s)


def _largest(info: ModelInfo, max_output: int) -> Bound | None:
    """The largest call of a model; None if its window is not known."""
    if info.context_window is None:
        return None
    output = min(CUT_OFF * max_output, info.max_output_tokens or CUT_OFF * max_output)
    return Bound(info.context_window, output, "the largest call")


def forecast_of(
    run_id: str,
    agents: Sequence[AgentForecast],
    limits: Limits,
    *,
    deadline_s: float | None,
    jobs: int,
) -> Forecast:
    """Put agents together. `limits` are what is left of those that all of them share."""
    worst = [agent.worst for agent in agents]
    deadline_s = _smaller(deadline_s, limits.seconds)
    at_once = len(agents) <= jobs
    seconds = _all([each.seconds for each in worst], max if at_once else sum)
    total = Cost(
        _smaller(_all([each.tokens for each in worst], sum), limits.tokens),
        _smaller(_all([each.nusd for each in worst], sum), limits.nusd),
        _smaller(seconds, deadline_s),
    )
    known = [agent.likely for agent in agents if agent.likely is not None]
    likely = None
    if known and len(known) == len(agents):
        took = [each.seconds for each in known]
        likely = Cost(
            sum(each.tokens for each in known),
            sum(each.nusd for each in known),
            max(took) if at_once else sum(took) / jobs,
        )
    return Forecast(run_id, tuple(agents), total, likely)


def told_windows(windows: Sequence[SpendWindow], warn_at: float) -> tuple[ToldWindow, ...]:
    """Every limit of the windows; `warn_at` is the share from which one is nearly used up."""
    nearly = {(window.name, unit) for window, unit, _ in nearly_used_up(windows, warn_at)}
    return tuple(
        ToldWindow(
            window.name,
            unit,
            limit,
            getattr(window.spent, unit),
            window.left(unit) or 0,
            (window.name, unit) in nearly,
            window_text(window, unit),
        )
        for window in windows
        for unit in LIMITABLE
        if (limit := getattr(window.limits, unit)) is not None
    )


def exceeds(worst: Cost, above: Limits) -> bool:
    """Whether a worst case is above a limit in any unit of it; what is not bounded is."""
    pairs = (
        (worst.tokens, above.tokens),
        (worst.nusd, above.nusd),
        (worst.seconds, above.seconds),
    )
    return any(
        limit is not None and (quantity is None or quantity > limit) for quantity, limit in pairs
    )


def _dearest(price: Price) -> int:
    """The dearest rate of a price, in 10⁻⁹ USD per token."""
    rates = (
        price.input,
        price.output,
        price.cache_read,
        price.cache_write,
        price.long_context_input,
        price.long_context_output,
        price.long_context_cache_read,
        price.long_context_cache_write,
    )
    return max(rate for rate in rates if rate is not None)


def _smaller(*values: N | None) -> N | None:
    """The smallest of those that are known."""
    return min((value for value in values if value is not None), default=None)


def _all(values: Sequence[N | None], together: Callable[[Sequence[N]], N]) -> N | None:
    """All values together; None if any is not known, or there are none."""
    known = [value for value in values if value is not None]
    return together(known) if known and len(known) == len(values) else None

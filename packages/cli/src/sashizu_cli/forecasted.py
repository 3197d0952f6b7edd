"""What a person reads of a run before it begins: its agents, and what they cost at most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sashizu_cli import render
from sashizu_cli.plain import one_line

if TYPE_CHECKING:
    from sashizu_core.runtime.forecast import AgentForecast, Forecast

__all__ = ["cost_text", "print_forecast"]


class _Quantities(Protocol):
    @property
    def tokens(self) -> int | None: ...

    @property
    def nusd(self) -> int | None: ...

    @property
    def seconds(self) -> float | None: ...


def cost_text(cost: _Quantities, otherwise: str = "no limit at all") -> str:
    """What is known of tokens, dollars and time, such as `60,000 tokens, 1.5 USD, 900 s`."""
    parts = []
    if cost.tokens is not None:
        parts.append(f"{cost.tokens:,} tokens")
    if cost.nusd is not None:
        parts.append(_usd(cost.nusd))
    if cost.seconds is not None:
        parts.append(f"{cost.seconds:,.1f} s")
    return ", ".join(parts) or otherwise


def print_forecast(found: Forecast, *, to_stderr: bool = False) -> None:
    """Print the agents of a plan, each with its model and tools, and what all of it may cost."""
    render.line("# plan\n", to_stderr=to_stderr)
    for agent in found.agents:
        _print_agent(agent, to_stderr)
    if len(found.agents) > 1:
        render.line("- all together", to_stderr=to_stderr)
        _print_costs(found.worst, to_stderr, priced=not found.unpriced)
        if found.likely is not None:
            render.line(f"  likely: {cost_text(found.likely)}", to_stderr=to_stderr)
        else:
            render.line("  likely: not known of every agent", to_stderr=to_stderr)
    elif not found.agents or found.worst != found.agents[0].worst:
        render.line("- the run", to_stderr=to_stderr)
        _print_costs(found.worst, to_stderr, priced=not found.unpriced)
    if found.windows:
        render.line("- windows of spend", to_stderr=to_stderr)
    for window in found.windows:
        more = ": nearly used up" if window.nearly else ""
        render.line(f"  {one_line(window.told)}{more}", to_stderr=to_stderr)
    render.line(to_stderr=to_stderr)


def _print_agent(agent: AgentForecast, to_stderr: bool) -> None:
    model = agent.model if agent.fallback is None else f"{agent.model}, then {agent.fallback}"
    render.line(
        f"- {one_line(agent.agent)}: {one_line(model)}: {one_line(agent.goal)}",
        to_stderr=to_stderr,
    )
    tools = ", ".join(agent.tools) or "none"
    render.line(f"  tools: {one_line(tools)}", to_stderr=to_stderr)
    _print_costs(agent.worst, to_stderr, priced=not agent.unpriced)
    likely = agent.likely
    if likely is None:
        text = "not known: no earlier run of this agent and model is on record"
    else:
        runs = "1 earlier run" if likely.runs == 1 else f"the median of {likely.runs} earlier runs"
        text = f"{cost_text(likely)} ({runs})"
    render.line(f"  likely: {text}", to_stderr=to_stderr)


def _print_costs(worst: _Quantities, to_stderr: bool, *, priced: bool) -> None:
    """The worst case, with a word for each quantity that nothing bounds."""
    tokens = f"{worst.tokens:,} tokens" if worst.tokens is not None else "tokens without limit"
    if worst.nusd is not None:
        usd = _usd(worst.nusd)
    else:
        usd = "USD without limit" if priced else "USD not known (no price)"
    seconds = f"{worst.seconds:,.1f} s" if worst.seconds is not None else "time without limit"
    render.line(f"  at most: {tokens}, {usd}, {seconds}", to_stderr=to_stderr)


def _usd(nusd: int) -> str:
    return f"{nusd / 1e9:.4f} USD" if nusd else "0 USD"

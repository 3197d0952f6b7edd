"""What both commands take, and what they tell at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from sashizu_core.limits import narrowed, parse_budget_flags, parse_duration, parse_limits
from sashizu_core.runtime.asked import Asked, asked_by
from sashizu_core.runtime.run_parts import RunParts
from sashizu_core.settings import Settings, command_settings
from sashizu_core.turn.windows import nearly_used_up, window_text
from sashizu_core.types import Amount, BudgetState, Limits, Usage

from sashizu_gateway.clients import Client
from sashizu_gateway.settings import GatewaySettings, checked_url, gateway_settings

__all__ = [
    "AgentBudget",
    "AnthropicUrl",
    "BudgetFlags",
    "Deadline",
    "NoAudit",
    "OpenAIUrl",
    "asked_for",
    "limits_of",
    "summary",
    "table_of",
    "window_lines",
]

BudgetFlags = Annotated[
    list[str] | None,
    typer.Option(
        "--budget",
        metavar="LIMIT",
        help="What all calls together may use: 60000, 2.5usd, 40requests, 6agents, 15m; "
        "repeatable. CLIENT=LIMIT limits one client.",
    ),
]
AgentBudget = Annotated[
    list[str] | None,
    typer.Option("--agent-budget", metavar="LIMIT", help="What each agent of a client may use."),
]
OpenAIUrl = Annotated[
    str,
    typer.Option("--openai-url", metavar="URL", help="Where requests in OpenAI's APIs go."),
]
AnthropicUrl = Annotated[
    str,
    typer.Option("--anthropic-url", metavar="URL", help="Where requests in Anthropic's API go."),
]
Deadline = Annotated[str, typer.Option("--deadline", metavar="TIME", help="End after so long.")]
NoAudit = Annotated[bool, typer.Option("--no-audit", help="Keep no durable record.")]


def settings_of(ctx: typer.Context) -> Settings:
    """Those of the calling command line; alone, those of the working directory."""
    return command_settings(ctx.find_root().obj)


def asked_for(
    ctx: typer.Context, budget: Sequence[str] | None, deadline: str, *, audit: bool
) -> tuple[Asked, Mapping[str, Limits]]:
    """The run that a command asks for, and the limits of its clients by name.

    Raises:
        UsageError: a limit or a duration cannot be read.
    """
    settings = settings_of(ctx)
    run, clients = parse_budget_flags(budget or ())
    whole, _ = settings.run.limits
    asked = asked_by(
        [],
        budget=narrowed(run, whole) if budget is None else run,
        deadline_s=parse_duration(deadline) if deadline else None,
        audit=audit,
        settings=settings,
        registry=getattr(ctx.find_root().obj, "registry", None),
    )
    return asked, clients


def table_of(asked: Asked, openai_url: str, anthropic_url: str) -> GatewaySettings:
    """The settings, with the addresses that the command line names.

    Raises:
        ConfigError: the table `[gateway]` is wrong.
        typer.BadParameter: an address is none.
    """
    table = gateway_settings(asked.settings)
    changed: dict[str, Any] = {}
    for name, url in (("openai", openai_url), ("anthropic", anthropic_url)):
        if not url:
            continue
        try:
            place = {"base_url": checked_url(url)}
        except ValueError as error:
            raise typer.BadParameter(f"--{name}-url: {error}") from None
        changed[name] = getattr(table, name).model_copy(update=place)
    return table.model_copy(update=changed) if changed else table


def limits_of(texts: Sequence[str] | None) -> Limits:
    """The limits of each agent."""
    return parse_limits(texts or ())


def window_lines(parts: RunParts) -> list[str]:
    """What is told at the beginning of windows of spend that are nearly used up."""
    found = nearly_used_up(parts.windows, parts.warn_at)
    return [f"nearly used up: {window_text(window, unit)}" for window, unit, _ in found]


def summary(clients: Sequence[Client], whole: BudgetState | None) -> list[str]:
    """What was used, a line for the whole, each client and each of its agents.

    What no bill said, or a bill said beyond its hold, is told with it.
    """
    lines = []
    if whole is not None:
        lines.append(f"used {_used(whole)}")
        if over := _over(whole.overrun):
            lines.append(f"warning: a provider billed {over} more than was held for its calls")
    for client in clients:
        refused = sum(agent.refused for agent in client.agents)
        told = f", {refused} refused" if refused else ""
        lines.append(f"{client.name}: {_calls(client.used, client.doubtful_tokens)}{told}")
        agents = list(client.agents)
        if len(agents) > 1:
            lines += [
                f"  {agent.name}: {_calls(agent.used, agent.doubtful_tokens)}" for agent in agents
            ]
    return lines


def _calls(used: Usage, doubtful: int) -> str:
    doubt = f" ({doubtful:,} in doubt: no bill came)" if doubtful else ""
    return f"{used.tokens + doubtful:,} tokens{doubt} in {used.requests:,} requests"


def _over(excess: Amount) -> str:
    parts = [f"{excess.tokens:,} tokens"] if excess.tokens else []
    return " and ".join([*parts, f"{excess.nusd / 1e9:.6f} USD"] if excess.nusd else parts)


def _used(state: BudgetState) -> str:
    spent, limits = state.spent, state.limits
    tokens = f"{spent.tokens:,} tokens" + (f" of {limits.tokens:,}" if limits.tokens else "")
    parts = [tokens, f"{spent.requests:,} requests"]
    if spent.nusd or limits.nusd:
        most = f" of {limits.nusd / 1e9:g}" if limits.nusd else ""
        parts.append(f"{spent.nusd / 1e9:.6f}{most} USD")
    if limits.agents:
        parts.append(f"{spent.agents} of {limits.agents} agents")
    return ", ".join(parts)

"""The command `budget report`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sashizu_budget.columns import aligned
from sashizu_budget.report import AgentSpend, RunSpend, read_report, record_query
from sashizu_budget.shared_settings import settings_of
from sashizu_budget.units import usd_text

if TYPE_CHECKING:
    from sashizu_core.plugins import Registry

__all__ = ["report"]


def report(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run's id, the beginning of it, or 'last'.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; USD in 10⁻⁹ USD.")] = False,
) -> None:
    """Show what a run spent: each agent beside its limit, each model with the source of its price.

    Of other vendors' programs it shows what they declared beside what was seen at the gateway.
    """
    found = read_report(record_query(_registry(ctx)), run)
    if as_json:
        typer.echo(json.dumps(_document(found), indent=2))
    else:
        typer.echo("\n".join(_lines(found)))


def _registry(ctx: typer.Context) -> Registry:
    """That of the calling command line; alone, what is installed."""
    from sashizu_core.plugins import Registry, open_registry  # not for other commands

    found = getattr(ctx.find_root().obj, "registry", None)
    return found if isinstance(found, Registry) else open_registry(settings_of(ctx))


# --- for a person ---------------------------------------------------------------------------------


def _lines(found: RunSpend) -> list[str]:
    lines = [f"run {found.run_id}: {_plain(found.status)}", "", *_agents(found)]
    if found.models:
        lines += ["", *_models(found)]
    if found.declared:
        lines += ["", *_programs(found)]
    notes = [note for agent in _flat(found.agents) for note in _notes(agent)]
    return lines + (["", *notes] if notes else [])


def _agents(found: RunSpend) -> list[str]:
    heading = ("agent", "status", "tokens", "of", "held", "USD", "of", "requests")
    tokens, nusd, requests = found.total
    held_tokens, _ = found.held
    rows: list[Sequence[str]] = [heading]
    rows.append(_row("all", found.status, tokens, nusd, requests, held_tokens, found.limits))
    for agent, depth in _deep(found.agents):
        name = "  " * (depth + 1) + _plain(agent.name)
        below = agent.total
        rows.append(_row(name, agent.status, *below, agent.held_tokens, agent.limits))
    return aligned(rows, left=("agent", "status"))


def _row(
    name: str,
    status: str,
    tokens: int,
    nusd: int,
    requests: int,
    held: int,
    limits: Mapping[str, int],
) -> Sequence[str]:
    return (
        name,
        _plain(status),
        f"{tokens:,}",
        f"{limits['tokens']:,}" if "tokens" in limits else "-",
        f"{held:,}",
        usd_text(nusd),
        usd_text(limits["nusd"]) if "nusd" in limits else "-",
        f"{requests:,}",
    )


def _models(found: RunSpend) -> list[str]:
    rows: list[Sequence[str]] = [("model", "calls", "input", "output", "in doubt", "USD", "price")]
    for model in found.models:
        numbers = (model.calls, model.input_tokens, model.output_tokens, model.doubtful_tokens)
        rows.append(
            (
                _plain(model.model),
                *(f"{number:,}" for number in numbers),
                usd_text(model.nusd),
                _plain(model.price) or "none known",
            )
        )
    return aligned(rows, left=("model", "price"))


def _programs(found: RunSpend) -> list[str]:
    rows: list[Sequence[str]] = [("program of", "declared", "seen", "in doubt", "not declared")]
    for each in found.declared:
        said = "nothing" if each.declared is None else f"{each.declared:,}"
        missing = "-" if each.declared is None else f"{each.seen - each.declared:,}"
        rows.append((_plain(each.name), said, f"{each.seen:,}", f"{each.doubtful:,}", missing))
    return aligned(rows, left=("program of",))


def _notes(agent: AgentSpend) -> list[str]:
    name, notes = _plain(agent.name), []
    if agent.doubtful_tokens:
        notes.append(
            f"{name}: {agent.doubtful_tokens:,} tokens have no bill and were charged whole"
        )
    if agent.refused:
        notes.append(f"{name}: refused {agent.refused} times")
    if agent.overruns:
        notes.append(f"{name}: billed more than was held {agent.overruns} times")
    return notes


def _deep(agents: Iterable[AgentSpend], depth: int = 0) -> Iterable[tuple[AgentSpend, int]]:
    for agent in agents:
        yield agent, depth
        yield from _deep(agent.children, depth + 1)


def _flat(agents: Iterable[AgentSpend]) -> Iterable[AgentSpend]:
    return (agent for agent, _ in _deep(agents))


def _plain(text: str) -> str:
    """Names come from files and programs: nothing of them moves a cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)[:100]


# --- for a program --------------------------------------------------------------------------------


def _document(found: RunSpend) -> dict[str, Any]:
    tokens, nusd, requests = found.total
    held_tokens, held_nusd = found.held
    return {
        "run_id": found.run_id,
        "status": found.status,
        "limits": dict(found.limits),
        "spent": {"tokens": tokens, "nusd": nusd, "requests": requests},
        "held": {"tokens": held_tokens, "nusd": held_nusd},
        "agents": [_branch(agent) for agent in found.agents],
        "models": [asdict(model) for model in found.models],
        "declared": [asdict(each) for each in found.declared],
    }


def _branch(agent: AgentSpend) -> dict[str, Any]:
    tokens, nusd, requests = agent.total
    return {
        "agent_id": agent.agent_id,
        "agent": agent.name,
        "model": agent.model,
        "status": agent.status,
        "limits": dict(agent.limits),
        "spent": {"tokens": tokens, "nusd": nusd, "requests": requests},
        "own": {"tokens": agent.tokens, "nusd": agent.nusd, "requests": agent.requests},
        "held": {"tokens": agent.held_tokens, "nusd": agent.held_nusd},
        "doubtful_tokens": agent.doubtful_tokens,
        "refused": agent.refused,
        "overruns": agent.overruns,
        "agents": [_branch(child) for child in agent.children],
    }

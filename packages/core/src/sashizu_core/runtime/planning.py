"""A run before it begins: what it would do and cost, shown to somebody who answers once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import anyio.to_thread

from sashizu_core.plugins import Registry
from sashizu_core.protocols import Budget, Model
from sashizu_core.runtime.asked import Asked, asked_by
from sashizu_core.runtime.delegation import plans_of
from sashizu_core.runtime.forecast import (
    AgentForecast,
    Forecast,
    Likely,
    forecast_of,
    told_windows,
    worst_case,
)
from sashizu_core.runtime.opened_run import sources_of
from sashizu_core.runtime.opening import Opened, run_context
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.redacting import run_redactor
from sashizu_core.specs import RecordRows
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.windows import windows_of
from sashizu_core.types import SpendWindow, Task

__all__ = ["PlannedRun", "planned_run"]

ASKED_S = 30.0
"""How long the record may take to answer, in seconds."""

MOST = 10_000


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run that has not begun; `answer` records whether it shall."""

    forecast: Forecast
    _recorder: Recorder

    async def answer(self, goes_on: bool, by: str) -> None:
        """Record the answer; `by` is who gave it: `terminal`, `flag`, or `nobody`.

        Raises:
            RecordError: it cannot be recorded.
        """
        fields = {"status": "ok" if goes_on else "denied", "attrs": {"by": by}}
        await self._recorder.record([self._recorder.event("run.confirmed", fields)])


@asynccontextmanager
async def planned_run(
    tasks: Sequence[Task], *, likely: bool = True, **options: Any
) -> AsyncGenerator[PlannedRun]:
    """Plan what `delegate_parallel` would run, and record the plan; nothing is spent.

    Takes what `delegate_parallel` takes; without any task it is a run whose agents are not known
    yet, and which only limits bound. `likely` asks the record for earlier runs.

    Raises:
        UsageError: something asked for does not exist or does not fit together.
        TrustNeeded: an agent comes from the workspace, and nobody has trusted its file as it is.
        MissingPackage: a budget or a durable record is asked for and its package is absent.
        RecordError: the plan cannot be recorded.
    """
    asked = asked_by(tasks, **options)
    plans = plans_of(asked, sources_of(asked)) if tasks else []
    async with AsyncExitStack() as stack:
        opened = Opened(asked.registry, stack)
        sinks = [*asked.sinks, *(await opened.sinks() if asked.audit else ())]
        redactor = run_redactor(asked.settings, asked.registry)
        recorder = Recorder(sinks, run_context(asked.run_id, asked.root), redactor)
        models = await opened.models(plans)
        ledger = await opened.ledger(asked.budget, plans, models)
        budget, left = None, asked.budget
        windows: Sequence[SpendWindow] = ()
        if ledger is not None:
            budget, root = ledger
            left = replace(left, tokens=root.left("tokens"), nusd=root.left("nusd"))
            windows = windows_of(root)
            root.close()
        agents = [_forecast(plan, models, budget, asked) for plan in plans]
        if likely and agents and asked.audit:
            agents = await _with_likely(agents, asked.registry)
        found = forecast_of(
            asked.run_id, agents, left, deadline_s=asked.deadline_s, jobs=asked.jobs
        )
        found = replace(found, windows=told_windows(windows, asked.settings.run.warn_at))
        fields = {"op": "invoke_workflow", "attrs": _told(found)}
        await recorder.record([recorder.event("run.planned", fields)])
        yield PlannedRun(found, recorder)


def _forecast(
    plan: AgentPlan, models: Mapping[str, Model], budget: Budget | None, asked: Asked
) -> AgentForecast:
    run, infos = asked.settings.run, {name: models[name].info for name in plan.models}
    worst = worst_case(
        plan,
        list(infos.values()),
        budget,
        max_turns=run.max_turns,
        max_output=run.max_output_tokens,
    )
    return AgentForecast(
        plan.name,
        plan.model,
        plan.task.goal or plan.definition.goal,
        tuple(sorted((*plan.tools, *plan.served))),
        worst=worst,
        fallback=plan.fallback,
        unpriced=tuple(
            name for name, info in infos.items() if budget is None or budget.price_of(info) is None
        ),
    )


async def _with_likely(agents: Sequence[AgentForecast], registry: Registry) -> list[AgentForecast]:
    """Say of each agent what earlier runs of it used; of none where the record cannot be asked."""
    queries = [spec.query for spec in registry.sinks.values() if spec.query is not None]
    if not queries:
        return list(agents)
    return await anyio.to_thread.run_sync(partial(_medians, agents, queries[0]))


def _medians(
    agents: Sequence[AgentForecast], query: Callable[[str, int, float], RecordRows]
) -> list[AgentForecast]:
    pairs = {(agent.agent, agent.model) for agent in agents}
    wanted = ", ".join(f"({_quoted(name)}, {_quoted(model)})" for name, model in sorted(pairs))
    sql = (
        "SELECT e.agent_name, e.model, count(*), median(e.tokens), "  # noqa: S608 - quoted below
        "median(coalesce(u.cost_usd, 0)), median(e.duration_ms) FROM agent_executions e "
        "LEFT JOIN (SELECT agent_id, sum(cost_usd) AS cost_usd FROM token_usage GROUP BY 1) u "
        "ON u.agent_id = e.agent_id "
        f"WHERE e.requests > 0 AND (e.agent_name, e.model) IN ({wanted}) GROUP BY 1, 2"
    )
    found = {
        (name, model): Likely(
            int(runs), round(float(tokens)), round(float(usd) * 1e9), float(took_ms or 0) / 1000
        )
        for name, model, runs, tokens, usd, took_ms in query(sql, MOST, ASKED_S).rows
    }
    return [replace(agent, likely=found.get((agent.agent, agent.model))) for agent in agents]


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _told(found: Forecast) -> dict[str, Any]:
    """What the record says of a plan."""
    agents = [
        {
            "agent": agent.agent,
            "model": agent.model,
            "fallback": agent.fallback,
            "tools": list(agent.tools),
            "worst": asdict(agent.worst),
            "likely": asdict(agent.likely) if agent.likely is not None else None,
        }
        for agent in found.agents
    ]
    likely = asdict(found.likely) if found.likely is not None else None
    windows = [asdict(window) for window in found.windows]
    return {"agents": agents, "worst": asdict(found.worst), "likely": likely, "windows": windows}

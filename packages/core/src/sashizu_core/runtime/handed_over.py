"""The operations that runs are handed over for: the run itself, and each of its agents.

What they did is on record, and they go on from there: neither has any other memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import time
from typing import Any, Protocol

import anyio
import anyio.to_thread

from sashizu_core.drawing import DrawingBudget, Source
from sashizu_core.errors import BudgetRefused, MissingPackage, UsageError
from sashizu_core.executors import Operation, Work, WorkContext, WorkStatus
from sashizu_core.handoff import Handoff, Received
from sashizu_core.ids import AgentId, RunId
from sashizu_core.plugins import Registry
from sashizu_core.protocols import BudgetNode
from sashizu_core.recorded import RecordedRun
from sashizu_core.runtime.artifacts import RUNS_FOLDER
from sashizu_core.runtime.asked import Asked, asked_by
from sashizu_core.runtime.asked_elsewhere import AskedAbove
from sashizu_core.runtime.delegation import run_asked
from sashizu_core.runtime.handed_run import AGENT, RUN, HandedAgent, HandedRun
from sashizu_core.runtime.handed_start import ended_fields, recorder_of, started_fields
from sashizu_core.runtime.plain_report import agent_report_from, plain_report
from sashizu_core.runtime.received import beneath
from sashizu_core.runtime.redacting import run_redactor
from sashizu_core.runtime.run_past import RunPast
from sashizu_core.runtime.spent import less, spent_by
from sashizu_core.runtime.telling import Telling
from sashizu_core.settings import Settings, load_settings
from sashizu_core.turn.steps import LAST_WORDS_S
from sashizu_core.types import (
    AgentReport,
    AgentStatus,
    Amount,
    BudgetState,
    Limits,
    Outcome,
    RunReport,
    Task,
    Usage,
)

__all__ = ["Spending", "Workplace", "agent_key", "operations_of"]

_DEEP = 1000
"""Levels where nothing bounds them."""

_LATE_S = 5.0
"""How long after the deadline of a run its agents may take to say so, in seconds."""

_OUTCOMES: Mapping[str, tuple[AgentStatus, Outcome]] = {
    "cancelled": ("cancelled", Outcome.CANCELLED),
    "timeout": ("timeout", Outcome.DEADLINE),
}

_OF_THE_WORKER = ("sandbox", "executor")
"""Of `[run]`, what a worker decides for itself."""


class Spending(Protocol):
    """Rows that the agents of a run draw on, on whatever machine each is; both methods block."""

    def source(self, run: HandedRun, number: int, attempt: int) -> Source:
        """What an agent draws from; what earlier attempts at it held is charged in full."""
        ...

    def close(self, run_id: str) -> BudgetState | None:
        """End the run's node, and say how it stands; None where nothing was drawn."""
        ...


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a worker brings: plugins, and the folders that it lets agents work in; empty for any.

    `registry` has one sink that keeps the record and can read back what a work did, by its key.
    Without `spending` each agent has a share of what the run may use.
    """

    registry: Registry
    roots: tuple[Path, ...] = ()
    spending: Spending | None = None

    def settings(self, run: HandedRun) -> Settings:
        """The settings of this machine for a workspace, with what shapes the run as it was asked.

        Raises:
            UsageError: agents may not work there.
        """
        root = run.asked.root
        self._check_folders(root, run.tasks)
        here = load_settings(root)
        asked, own = run.asked.tables.get("run", {}), here.tables.get("run", {})
        shaped = {name: value for name, value in asked.items() if name not in _OF_THE_WORKER}
        shaped |= {name: value for name, value in own.items() if name in _OF_THE_WORKER}
        return replace(here, tables={**here.tables, "run": {**shaped, "executor": "local"}})

    def _check_folders(self, root: Path, tasks: Sequence[Task]) -> None:
        """Refuse folders that are not below the roots, wherever `..` and links lead.

        Raises:
            UsageError: one is not; a scope may lie outside of the workspace, and lets agents read.
        """
        allowed = [each.resolve() for each in self.roots]
        asked = [root, *(root / path for task in tasks for path in task.scope)]
        for folder in asked if allowed else ():
            real = folder.resolve()
            if not any(real == each or each in real.parents for each in allowed):
                raise UsageError(
                    f"this worker lets no agent work in {str(folder)!r}: start one with a --root "
                    f"above it (this one has {', '.join(map(str, self.roots))})"
                )

    async def recorded(self, key: str) -> RecordedRun:
        """What is on record of a work by now; of others as little as the record can tell apart.

        Raises:
            MissingPackage: nothing here keeps a record that can be read back.
        """
        for spec in self.registry.sinks.values():
            if spec.recorded is not None:
                try:
                    return await anyio.to_thread.run_sync(spec.recorded, key)
                except UsageError:
                    return RecordedRun(key, (), lambda _: None, {})
        raise MissingPackage("to go on with what a run has recorded", "sashizu-audit")


def operations_of(place: Workplace) -> dict[str, Operation]:
    """What a worker can be asked for, by name. The names are part of what is stored."""

    async def run(context: WorkContext) -> Any:
        return await _run(place, context)

    async def agent(context: WorkContext) -> Any:
        return await _agent(place, context)

    return {RUN: run, AGENT: agent}


def agent_key(run_id: str, number: int) -> str:
    """The key of the work of one agent: the same after a crash, so that it is attached to."""
    return f"{run_id}/{number}"


# --- the run --------------------------------------------------------------------------------------


async def _run(place: Workplace, context: WorkContext) -> Any:
    run = HandedRun.read(context.work.payload)
    redactor = run_redactor(place.settings(run), place.registry)
    async with (
        _telling(context) as sink,
        recorder_of(place.registry, run.context, redactor, sink) as recorder,
    ):
        before = await place.recorded(context.work.key)
        kinds = {event["kind"] for event in before.events}
        if "run.started" not in kinds:
            await recorder.record([recorder.event("run.started", started_fields(run, recorder))])
        started = time()
        status, reports = "cancelled", list[AgentReport]()
        try:
            reports = await _agents(run, context)
            status = _status(reports)
        finally:
            with anyio.move_on_after(LAST_WORDS_S, shield=True):
                state = await _closed(place, run)
                ended = ended_fields(status, reports, state, time() - started)
                if "run.ended" not in kinds:
                    await recorder.record([recorder.event("run.ended", ended)])
    report = RunReport(
        run_id=RunId(run.run_id),
        requested_agents=tuple(task.agent for task in run.tasks),
        resolved_agents=tuple(agent.name for agent in run.agents),
        results=reports,
        budget=state,
        duration_s=time() - started,
    )
    return plain_report(report)


async def _agents(run: HandedRun, context: WorkContext) -> list[AgentReport]:
    """Hand over the agents, at most as many at once as are to work at once, and wait for them."""
    keys = [agent_key(run.run_id, agent.number) for agent in run.agents]
    at_once = _at_once(run)
    reports = []
    for agent, key in zip(run.agents[:at_once], keys, strict=False):
        await _begin(run, agent, key, context)
    for position, key in enumerate(keys):
        status = await context.ended(key)
        reports.append(_report(run.agents[position], status))
        if position + at_once < len(keys):
            later = run.agents[position + at_once]
            await _begin(run, later, keys[position + at_once], context)
    return reports


async def _begin(run: HandedRun, agent: HandedAgent, key: str, context: WorkContext) -> None:
    await context.submit(_work(run, agent, key))
    await context.tell({"begun": [key]})


def _at_once(run: HandedRun) -> int:
    alive = run.asked.budget.agents_alive
    return run.asked.jobs if alive is None else max(1, min(run.asked.jobs, alive))


def _work(run: HandedRun, agent: HandedAgent, key: str) -> Work:
    deadline = None if run.deadline is None else run.deadline + _LATE_S
    return Work(key, AGENT, run.of_agent(agent.number), labels=run.labels, deadline=deadline)


def _status(reports: Sequence[AgentReport]) -> str:
    for status in ("timeout", "cancelled", "error"):
        if any(report.status == status for report in reports):
            return status
    return "ok"


def _report(agent: HandedAgent, status: WorkStatus) -> AgentReport:
    """What became of an agent; where its work has no report, what became of that."""
    if status.state == "ok":
        return agent_report_from(status.result)
    how, outcome = _OUTCOMES.get(status.state, ("error", Outcome.FAILED))
    return AgentReport(
        agent=agent.name,
        agent_id=AgentId(""),
        status=how,
        outcome=outcome,
        answer="",
        criteria=(),
        artifacts=(),
        missing=(),
        usage=Usage(),
        budget=None,
        steps=0,
        duration_s=0.0,
        error=status.error,
    )


# --- one agent ------------------------------------------------------------------------------------


async def _agent(place: Workplace, context: WorkContext) -> Any:
    run = HandedRun.read(context.work.payload)
    (agent,) = run.agents
    past = _past(await place.recorded(context.work.key), run, agent)
    async with _telling(context) as sink:
        approver = AskedAbove(context) if run.asks else None
        asked = replace(_asked(place, run, agent, past, sink), approver=approver)
        async with _node(place, run, past, context.attempt) as (node, ledger):
            received = Received(_handoff(run, agent), node, hosted=True)
            report = await run_asked(beneath(asked, received, ledger))
    return plain_report(report.results[0])


def _past(recorded: RecordedRun, run: HandedRun, agent: HandedAgent) -> RunPast | None:
    """What the agent and those beneath it did before a crash; None where it begins."""
    ids: set[str] = set()
    for event in recorded.events:
        own = event.get("parent_span_id") == agent.span
        below = str(event.get("parent_agent_id")) in ids
        if event["kind"] == "agent.started" and (own or below):
            ids.add(str(event["agent_id"]))
    if not ids:
        return None
    events = [event for event in recorded.events if str(event.get("agent_id")) in ids]
    own = replace(recorded, run_id=run.run_id, events=events)
    past = RunPast.of(own, recomputes=False, in_place=True)
    past.carries = True
    return past


def _asked(
    place: Workplace, run: HandedRun, agent: HandedAgent, past: RunPast | None, sink: Telling
) -> Asked:
    settings, said = place.settings(run), run.asked
    left = None if run.deadline is None else run.deadline - time()
    if left is not None and left <= 0:
        raise BudgetRefused("run", "seconds", 1, 0, closed=True)
    if past is not None:
        past.policy, past.brought = settings.policy, said.brought
    asked = asked_by(
        said.tasks,
        workspace=said.root,
        budget=Limits(),
        deadline_s=left,
        jobs=1,
        model=said.model,
        isolation="none",
        agents=said.agents,
        sinks=[sink],
        settings=settings,
        registry=replace(place.registry, agents={}, hosts={}),
        run_id=RunId(run.run_id),
    )
    return replace(asked, past=past, named_before={said.tasks[0].agent: agent.before})


def _handoff(run: HandedRun, agent: HandedAgent) -> Handoff:
    return Handoff(
        run_id=RunId(run.run_id),
        agent_id=AgentId(""),
        parent_agent_id=None,
        depth=-1,
        ceiling=agent.ceiling,
        deadline=run.deadline,
        traceparent=f"00-{run.context['trace_id']}-{agent.span}-01",
        depth_left=_DEEP,
        folder=RUNS_FOLDER,
        recorded=True,
    )


@asynccontextmanager
async def _node(
    place: Workplace, run: HandedRun, past: RunPast | None, attempt: int
) -> AsyncIterator[tuple[BudgetNode, Any]]:
    """A node that draws on the run's; or one of the agent's share, without what it has spent.

    Raises:
        MissingPackage: no package provides one.
    """
    if place.registry.budget is None:
        raise MissingPackage("an agent on a worker", "sashizu-budget")
    (agent,) = run.agents
    async with place.registry.budget.open() as ledger:
        if _drawn(place, run) and isinstance(ledger, DrawingBudget):
            assert place.spending is not None
            source = partial(place.spending.source, run, agent.number, attempt)
            node = ledger.drawn_from(await anyio.to_thread.run_sync(source))
        else:
            spent = spent_by(past.every) if past is not None else Amount()
            node = ledger.root("run", less(agent.share, spent))
        try:
            yield node, ledger
        finally:
            node.close()


def _drawn(place: Workplace, run: HandedRun) -> bool:
    """Whether the agents of a run draw on what they share; without limits nothing is shared."""
    return place.spending is not None and run.asked.budget.counted


async def _closed(place: Workplace, run: HandedRun) -> BudgetState | None:
    """How the budget of a run stands, now that all of it has ended."""
    if place.spending is None or not _drawn(place, run):
        return None
    return await anyio.to_thread.run_sync(place.spending.close, run.run_id)


@asynccontextmanager
async def _telling(context: WorkContext) -> AsyncIterator[Telling]:
    """A sink whose events go to whoever follows the work; the last ones too."""
    sink = Telling()
    async with anyio.create_task_group() as group:
        group.start_soon(sink.tell_all, context)
        try:
            yield sink
        finally:
            with anyio.move_on_after(LAST_WORDS_S, shield=True):
                await sink.close(context)
            group.cancel_scope.cancel()

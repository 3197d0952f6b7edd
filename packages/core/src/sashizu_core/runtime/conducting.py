"""Runs whose agents a program starts one after another, as it sees what became of those before."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from time import monotonic
from typing import Any

import anyio.to_thread

from sashizu_core.agents import Catalogue
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.ids import new_agent_id
from sashizu_core.protocols import BudgetNode
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.asked import Asked, handoff_of
from sashizu_core.runtime.bracket import bracketed, deadline
from sashizu_core.runtime.instance import AgentInstance
from sashizu_core.runtime.instances import Instance, above_all, instance_of
from sashizu_core.runtime.measuring import devices_measured
from sashizu_core.runtime.opened_run import OpenedRun, check_ledger, opened_run
from sashizu_core.runtime.places import with_isolation
from sashizu_core.runtime.plan import AgentPlan, Sources, plan_agents
from sashizu_core.runtime.redacting import redacted_report
from sashizu_core.runtime.run_parts import RunParts
from sashizu_core.runtime.spawning import Spawning, spawning_plans
from sashizu_core.trust import TrustStore
from sashizu_core.types import AgentReport, ModelInfo, RunReport, Task

__all__ = ["Conductor", "conducting"]


class Conductor:
    """Starts agents of one run. `first` are the plans of the tasks that the run began with.

    `reports` are of all agents that have ended; `ok` says whether the run did what it was asked,
    which is for the program to know.
    """

    def __init__(
        self,
        asked: Asked,
        sources: Sources,
        opened: OpenedRun,
        first: Sequence[AgentPlan],
        folders: dict[str, int],
    ) -> None:
        self.first = list(first)
        self.ok = False
        self._asked = asked
        self._sources = sources
        self._opened = opened
        self._folders = folders
        self._started = monotonic()
        self._instances: list[Instance] = []
        self._ended: dict[str, AgentReport] = {}

    @property
    def parts(self) -> RunParts:
        return self._spawning.parts

    @property
    def catalogue(self) -> Catalogue:
        return self._sources.catalogue

    @property
    def budget(self) -> BudgetNode | None:
        """The run's node of the ledger; None where there is none."""
        return self.parts.root

    @property
    def stopped(self) -> str:
        """Why all agents of the run are to end; empty while they are not."""
        return self.parts.handle.reason

    @property
    def reports(self) -> list[AgentReport]:
        """What became of the agents that have ended, in the order in which they began."""
        ids = [instance.agent_id for instance in self._instances]
        return [self._ended[agent_id] for agent_id in ids if agent_id in self._ended]

    def model_info(self, plan: AgentPlan) -> ModelInfo:
        """What is known of the model that a prepared agent will use."""
        return self.parts.models[plan.model].info

    async def prepare(self, tasks: Sequence[Task], *, beside: bool = True) -> list[AgentPlan]:
        """Resolve tasks and open what they need; `beside` says that others work at the same time.

        Raises:
            UsageError: an agent, a model, a tool or a scope is unknown.
            TrustNeeded: an agent comes from the workspace, and nobody has trusted its file.
            MissingPackage: a budget is asked for and there is no ledger.
        """
        plans = await _planned(
            self._asked, self._sources, tasks, self._folders, jobs=self._asked.jobs if beside else 1
        )
        for plan in plans:
            await self._spawning.open(plan, self.budget)
        return plans

    async def instance(
        self, plan: AgentPlan, *, accept: Callable[[str], str] | None = None
    ) -> Instance:
        """An agent instance for a prepared task, which waits for `work`.

        `accept` says what is wrong with an answer, in words for the model, or nothing.
        """
        agent_id = new_agent_id()
        if (past := self._asked.past) is not None:
            known = past.plan(plan.task, self._asked.registry, root=self._asked.root)
            plan = known if known is not None else plan
        place = await self.parts.places.of(plan, agent_id)
        above = above_all(self._asked, self.parts)
        instance: Instance
        if accept is None:
            instance = instance_of(plan, self.parts, agent_id, place, above=above)
        else:  # only who is here can be asked again
            instance = AgentInstance(plan, self.parts, agent_id, place, accept=accept, above=above)
        self._instances.append(instance)
        self._opened.info.agents.append(plan.name)
        return instance

    async def work(self, instance: Instance) -> AgentReport:
        """Run an agent, as soon as there is a place for it.

        Raises:
            RecordError: the record cannot be written.
        """
        call = partial(self._spawning.work, instance)
        report = await call()
        self._ended[instance.agent_id] = report
        return report

    def forget(self, instance: Instance) -> None:
        """Keep nothing of an agent that has ended: for runs of which nobody knows how many."""
        self._instances.remove(instance)
        self._ended.pop(instance.agent_id, None)
        self._opened.info.agents.remove(instance.plan.name)

    def cancel(self, agent_id: str) -> None:
        """End one agent, at work or waiting."""
        self.parts.handle.cancel_agent(agent_id)

    async def report(self) -> RunReport:
        """What became of the run so far: the reports of all agents, in the order they began."""
        parts, merge = self.parts, None
        warnings = list(parts.notes)
        try:
            merge = await parts.places.merge_plan()
        except SashizuError as error:
            warnings.append(f"what merging would do cannot be told: {error}")
        ended = [each for each in self._instances if each.agent_id in self._ended]
        report = RunReport(
            run_id=parts.run_id,
            requested_agents=tuple(each.plan.task.agent for each in ended),
            resolved_agents=tuple(each.plan.name for each in ended),
            results=self.reports,
            budget=parts.root.state() if parts.root is not None else None,
            duration_s=monotonic() - self._started,
            merge=merge,
            warnings=tuple(warnings),
        )
        return redacted_report(report, parts.recorder.redactor)

    @property
    def _spawning(self) -> Spawning:
        spawning = self._opened.parts.spawning
        assert spawning is not None
        return spawning

    def _snapshot(self) -> Mapping[str, Any]:
        progress = [each.progress() for each in self._instances]
        return {"agent_states": [asdict(each) for each in [*progress, *self._spawning.progress()]]}

    def _status(self) -> str:
        if self.ok:
            return "ok"
        if self.parts.handle.expired:
            return "timeout"
        return "cancelled" if self.stopped else "error"


@asynccontextmanager
async def conducting(
    asked: Asked, sources: Sources, redactor: Redactor, *, about: Mapping[str, Any]
) -> AsyncGenerator[Conductor]:
    """One run: recorded, bounded, and cancellable as a whole; its first agents are planned.

    `about` is what the record says of the run beside its agents.

    Raises:
        UsageError: an agent, a model, a tool or a scope is unknown.
        TrustNeeded: an agent comes from the workspace, and nobody has trusted its file.
        MissingPackage: a budget or a durable record is asked for and its package is absent.
        RecordError: the record cannot be written.
    """
    if (name := asked.settings.run.executor) != "local":
        raise UsageError(
            f"the executor {name!r} runs 'delegate' and 'delegate-parallel': say "
            "-c run.executor=local for all else"
        )
    check_ledger(asked)
    folders: dict[str, int] = {}
    plans = await _planned(asked, sources, asked.tasks, folders, jobs=asked.jobs)
    async with opened_run(asked, sources, plans, redactor, late=True) as opened:
        conductor = Conductor(asked, sources, opened, plans, folders)
        handle = opened.parts.handle
        opened.info.agents.clear()  # they are named as they begin
        async with bracketed(asked, plans, opened.parts, about) as status:
            handle.snapshot = conductor._snapshot
            if asked.on_start is not None:
                asked.on_start(handle)
            async with deadline(asked, handle), devices_measured(asked, opened.parts.recorder):
                yield conductor
            status.text = conductor._status()
        opened.control.ended(status.text, sum(report.ok for report in conductor.reports))


async def _planned(
    asked: Asked, sources: Sources, tasks: Sequence[Task], folders: dict[str, int], *, jobs: int
) -> list[AgentPlan]:
    if asked.past is None:
        entries = [sources.catalogue.entry(task.agent) for task in tasks]
        await anyio.to_thread.run_sync(TrustStore().require, asked.root, entries)
    plans = spawning_plans(_new_plans(asked, sources, tasks, folders), asked)
    return await with_isolation(plans, asked.registry, asked.root, asked=asked.isolation, jobs=jobs)


def _new_plans(
    asked: Asked, sources: Sources, tasks: Sequence[Task], folders: dict[str, int]
) -> list[AgentPlan]:
    return plan_agents(
        tasks,
        catalogue=sources.catalogue,
        registry=sources.registry,
        root=asked.root,
        run_id=asked.run_id,
        default_model=sources.default_model,
        model=sources.model,
        policy=sources.policy,
        folders=folders,
        received=handoff_of(asked),
        agent_deadline_s=asked.settings.run.agent_deadline_s,
    )

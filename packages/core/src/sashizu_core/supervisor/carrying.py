"""Carries out plans: starts the agents of steps, and passes answers on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import anyio

from sashizu_core.runtime.conducting import Conductor
from sashizu_core.runtime.instances import Instance
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.supervisor.answering import merged
from sashizu_core.supervisor.merging import Candidate, Merged, verify_score
from sashizu_core.supervisor.passing import PASSED_CHARACTERS, Passed, passed_inputs
from sashizu_core.supervisor.plans import Step, StepPlan, waits_of
from sashizu_core.supervisor.report import StepResult
from sashizu_core.supervisor.schedule import carry_out
from sashizu_core.supervisor.wanted import Wanted
from sashizu_core.types import AgentReport

__all__ = ["Carrying", "last_steps", "may_meet"]


def last_steps(steps: Sequence[Step]) -> list[Step]:
    """The steps whose answers no other step needs."""
    needed = {each for step in steps for each in step.after}
    return [step for step in steps if step.id not in needed]


def may_meet(waits: Mapping[str, Collection[str]]) -> set[str]:
    """The steps that may run at the same time as another; `waits` is in order."""
    above: dict[str, set[str]] = {}
    for name in waits:
        above[name] = {one for each in waits[name] for one in (each, *above[each])}
    return {
        name
        for name in waits
        if any(
            other != name and other not in above[name] and name not in above[other]
            for other in waits
        )
    }


@dataclass(frozen=True, slots=True)
class _Round:
    """One plan on its way: `needs` are the steps whose answers each step gets."""

    number: int
    steps: Mapping[str, Step]
    plans: Mapping[str, Sequence[AgentPlan]]
    needs: Mapping[str, Sequence[str]]
    last: Collection[str]


class Carrying:
    """The work on one goal. `results` are by the id of the step, in the order of the plans.

    `replaced` are the results of steps in whose place others were planned.
    """

    def __init__(self, wanted: Wanted, conductor: Conductor, jobs: int) -> None:
        self.wanted = wanted
        self.results: dict[str, StepResult] = {}
        self.replaced: list[StepResult] = []
        self.enough = False
        self._conductor = conductor
        self._jobs = jobs
        self._best: dict[str, Candidate] = {}
        self._working: set[str] = set()
        self._ended: list[str] = []

    @property
    def done(self) -> list[Step]:
        """The steps that succeeded."""
        return [result.step for result in self.results.values() if result.ok]

    def passed(self, name: str) -> Passed:
        """The answer of a step as others get it."""
        result = self.results[name]
        changes = [
            report.changes
            for report in self._conductor.reports
            if report.agent_id in result.agent_ids and report.changes is not None
        ]
        remark = " ".join(
            f"It changed {', '.join(file.path for file in each.files[:50])} on the branch "
            f"{each.branch}, which is not merged."
            for each in changes
        )
        return Passed(name, result.step.agent, result.answer, remark)

    async def conclude(self) -> Merged:
        """The answer to the goal: of those of all steps, or where they compete of the last ones."""
        steps = [result.step for result in self.results.values()]
        candidates = []
        for step in steps if self.wanted.merge == "concatenate" else last_steps(steps):
            result = self.results[step.id]
            best = self._best.get(step.id, Candidate("", "", "", ok=False))
            ended = self._ended.index(step.id) if step.id in self._ended else len(self._ended)
            candidates.append(
                replace(
                    best,
                    label=f"{step.agent} ({step.id})",
                    answer=result.answer,
                    ok=result.ok,
                    ended=ended,
                    judge=None,
                )
            )
        return await merged(candidates, self.wanted.goal, self.wanted, self._conductor)

    # --- one plan ---------------------------------------------------------------------------------

    async def carry_out(
        self, plan: StepPlan, number: int, prepared: Sequence[AgentPlan] = ()
    ) -> None:
        """Run the steps of a plan, which may wait for those that are done.

        `prepared` are the plans of its agents where they are made already, step by step.
        """
        waits = waits_of(plan.steps, self.wanted.strategy)
        done = self.done
        self.replaced += [result for result in self.results.values() if not result.ok]
        self.results = {step.id: self.results[step.id] for step in done}
        round_ = _Round(
            number,
            {step.id: step for step in plan.steps},
            await self._prepared(plan, waits, prepared),
            self._needs(plan),
            {step.id for step in last_steps([*done, *plan.steps])},
        )

        async def work(name: str) -> bool:
            return await self._step(name, round_)

        fates = await carry_out(waits, work, jobs=self._jobs, stopped=self._stopped)
        for step in plan.steps:
            if fates[step.id] == "skipped":
                why = self._why_skipped(waits[step.id])
                self.results[step.id] = StepResult(step, number, "skipped", error=why)
        self.results = {step.id: self.results[step.id] for step in [*done, *plan.steps]}

    def _needs(self, plan: StepPlan) -> dict[str, tuple[str, ...]]:
        """The answers that each step gets: with `sequential` at least that of the one before it."""
        needs = {step.id: step.after for step in plan.steps}
        if self.wanted.strategy == "sequential":
            for before, step in pairwise(plan.steps):
                needs[step.id] = step.after or (before.id,)
        return needs

    def _stopped(self) -> bool:
        return self.enough or bool(self._conductor.stopped)

    def _why_skipped(self, waits: Collection[str]) -> str:
        if self._conductor.stopped:
            return self._conductor.stopped
        if self.enough:
            return "another answer was enough"
        failed = [name for name in waits if not self.results[name].ok]
        return f"not started, because {', '.join(failed)} did not succeed"

    async def _prepared(
        self,
        plan: StepPlan,
        waits: Mapping[str, Collection[str]],
        prepared: Sequence[AgentPlan],
    ) -> dict[str, list[AgentPlan]]:
        """The plans of the agents of every step; those that work beside others are kept apart."""
        if prepared:
            return self._shared_out(plan.steps, prepared)
        meeting = set(waits) if len(self.wanted.models) > 1 else may_meet(waits)
        found: dict[str, list[AgentPlan]] = {}
        for beside in (False, True):
            steps = [step for step in plan.steps if (step.id in meeting) is beside]
            tasks = [task for step in steps for task in self.wanted.tasks_of(step)]
            if tasks:
                plans = await self._conductor.prepare(tasks, beside=beside)
                found |= self._shared_out(steps, plans)
        return found

    def _shared_out(
        self, steps: Sequence[Step], plans: Sequence[AgentPlan]
    ) -> dict[str, list[AgentPlan]]:
        count = max(1, len(self.wanted.models))
        return {
            step.id: list(plans[at * count : (at + 1) * count]) for at, step in enumerate(steps)
        }

    # --- one step ---------------------------------------------------------------------------------

    async def _step(self, name: str, round_: _Round) -> bool:
        step = round_.steps[name]
        given = [self.passed(each) for each in round_.needs[name]]
        inputs = passed_inputs(given, self._room())
        instances = [
            await self._conductor.instance(replace(plan, task=replace(plan.task, inputs=inputs)))
            for plan in round_.plans[name]
        ]
        reports = await self._work(instances)
        candidates = [self._candidate(step, instance, reports) for instance in instances]
        found = await merged(candidates, step.goal, self.wanted, self._conductor)
        self._best[name] = next(
            (each for each in candidates if each.label == found.chosen or len(candidates) == 1),
            Candidate("", "", found.answer, found.ok),
        )
        self._ended.append(name)
        error = "" if found.ok else _why_failed(found, list(reports.values()))
        state: Literal["done", "failed", "skipped"]
        state = "done" if found.ok else "skipped" if self.enough else "failed"
        ids = tuple(instance.agent_id for instance in instances)
        self.results[name] = StepResult(step, round_.number, state, found.answer, error, ids, found)
        if found.ok and self.wanted.merge == "first-success" and name in round_.last:
            self._stop_others()
        return found.ok

    async def _work(self, instances: Sequence[Instance]) -> dict[str, AgentReport]:
        """Run the instances of one step at once; the reports by agent id, in the order they ended.

        With `first-success` one that succeeds ends the others.
        """
        reports: dict[str, AgentReport] = {}
        ids = {instance.agent_id for instance in instances}
        self._working |= ids

        async def one(instance: Instance) -> None:
            report = await self._conductor.work(instance)
            reports[instance.agent_id] = report
            self._working.discard(instance.agent_id)
            if report.ok and self.wanted.merge == "first-success":
                for other in ids - reports.keys():
                    self._conductor.cancel(other)

        async with anyio.create_task_group() as group:
            for instance in instances:
                group.start_soon(one, instance)
        return reports

    def _candidate(
        self,
        step: Step,
        instance: Instance,
        reports: Mapping[str, AgentReport],
    ) -> Candidate:
        report = reports[instance.agent_id]
        model = f", {instance.plan.model}" if len(self.wanted.models) > 1 else ""
        return Candidate(
            f"{step.agent} ({step.id}{model})",
            report.agent_id,
            report.answer,
            report.ok,
            list(reports).index(instance.agent_id),
            verify_score(report),
        )

    def _stop_others(self) -> None:
        self.enough = True
        for agent_id in self._working:
            self._conductor.cancel(agent_id)

    def _room(self) -> int:
        """Characters for what is passed on: with few tokens left a small part of them."""
        budget = self._conductor.budget
        left = budget.left("tokens") if budget is not None else None
        return PASSED_CHARACTERS if left is None else min(PASSED_CHARACTERS, left // 8)


def _why_failed(found: Merged, reports: Sequence[AgentReport]) -> str:
    failed = [report for report in reports if not report.ok]
    if not failed:
        return found.note
    return "; ".join(f"{each.agent}: {each.error or each.outcome.value}" for each in failed)

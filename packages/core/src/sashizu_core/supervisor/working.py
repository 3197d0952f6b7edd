"""The work on one goal: planned, carried out, mended once, concluded."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from sashizu_core.errors import UsageError
from sashizu_core.runtime.conducting import Conductor
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.supervisor.carrying import Carrying, last_steps
from sashizu_core.supervisor.judging import JUDGE
from sashizu_core.supervisor.merging import Merged
from sashizu_core.supervisor.planner import PLANNER, Failure, replanning_task
from sashizu_core.supervisor.plans import StepPlan, plan_problem, read_plan
from sashizu_core.supervisor.report import Supervision
from sashizu_core.supervisor.wanted import Wanted
from sashizu_core.types import Outcome, Task

__all__ = ["Work"]

_FINAL = (Outcome.BUDGET, Outcome.CANCELLED)
"""Ends that planning anew does not mend."""


class Work:
    """One goal from its plan to its answer."""

    def __init__(self, wanted: Wanted, conductor: Conductor, jobs: int) -> None:
        self._wanted = wanted
        self._conductor = conductor
        self._carrying = Carrying(wanted, conductor, jobs)

    async def run(self, plan: StepPlan | None, *, only_plan: bool) -> Supervision:
        """Work until there is an answer, or no way to one; `plan` is None where a model makes it.

        With a plan the run's first agents are those of its steps, else the planner.
        """
        carrying, conductor = self._carrying, self._conductor
        prepared = conductor.first if plan is not None else []
        if plan is None:
            plan = await self._planned(conductor.first[0])
        if plan is None or only_plan:
            return await self._told(plan, None, None)
        await self._check_judge(plan)
        await carrying.carry_out(plan, 1, prepared)
        replanned = await self._replanned() if self._to_mend() else None
        if replanned is not None:
            await carrying.carry_out(replanned, 2)
        return await self._told(plan, replanned, await carrying.conclude())

    async def _told(
        self, plan: StepPlan | None, replanned: StepPlan | None, merged: Merged | None
    ) -> Supervision:
        wanted, carrying = self._wanted, self._carrying
        results = list(carrying.results.values())
        if merged is None:
            ok = plan is not None
        else:
            whole = all(result.ok for result in results)
            ok = merged.ok and (whole or wanted.merge != "concatenate")
        return Supervision(
            wanted.goal,
            wanted.strategy,
            wanted.merge,
            plan,
            replanned,
            (*carrying.replaced, *results),
            merged,
            await self._conductor.report(),
            ok,
        )

    # --- planning ---------------------------------------------------------------------------------

    async def _planned(self, prepared: AgentPlan) -> StepPlan | None:
        names, strategy = list(self._wanted.agents), self._wanted.strategy
        accept = partial(plan_problem, agents=names, strategy=strategy)
        report = await self._conductor.work(await self._conductor.instance(prepared, accept=accept))
        if not report.ok:
            return None
        found = read_plan(report.answer, names, strategy, made_by=prepared.model)
        return replace(found, by_rules=not self._conductor.model_info(prepared).bills_tokens)

    def _to_mend(self) -> bool:
        """Whether planning anew can help: something failed for a reason that may not come again."""
        carrying, conductor = self._carrying, self._conductor
        if carrying.enough or conductor.stopped:
            return False
        failed = {
            agent_id
            for result in carrying.results.values()
            if result.state == "failed"
            for agent_id in result.agent_ids
        }
        ends = [report.outcome for report in conductor.reports if report.agent_id in failed]
        return any(end not in _FINAL for end in ends)

    async def _replanned(self) -> StepPlan | None:
        """A plan of what is still to do; None where none could be made."""
        wanted, carrying, conductor = self._wanted, self._carrying, self._conductor
        done = [step.id for step in carrying.done]
        failed = [
            Failure(result.step, result.error)
            for result in carrying.results.values()
            if not result.ok
        ]
        task = replanning_task(
            wanted.goal,
            wanted.agents,
            wanted.strategy,
            wanted.merge,
            done=[carrying.passed(name) for name in done],
            failed=failed,
            scope=wanted.scope,
        )
        names = list(wanted.agents)
        (plan,) = await conductor.prepare(
            [replace(task, limits=wanted.limits_of(PLANNER))], beside=False
        )
        ids = [each.step.id for each in failed]
        accept = partial(plan_problem, agents=names, strategy=wanted.strategy, done=done, taken=ids)
        report = await conductor.work(await conductor.instance(plan, accept=accept))
        if not report.ok:
            return None
        found = read_plan(
            report.answer, names, wanted.strategy, made_by=plan.model, done=done, taken=ids
        )
        return replace(found, by_rules=not conductor.model_info(plan).bills_tokens)

    async def _check_judge(self, plan: StepPlan) -> None:
        """Refuse, before a step is run, what only a judge could decide where there is none.

        Raises:
            UsageError: the model that would judge is no language model.
        """
        wanted, conductor = self._wanted, self._conductor
        last = last_steps(plan.steps)
        measured = [bool(conductor.catalogue.get(step.agent).verify) for step in last]
        unneeded = wanted.merge == "highest-score" and all(measured)
        several = len(last) > 1 or len(wanted.models) > 1
        if wanted.merge not in ("judge", "highest-score") or unneeded or not several:
            return
        (prepared,) = await conductor.prepare([Task(JUDGE)], beside=False)
        if conductor.model_info(prepared).bills_tokens:
            return
        raise UsageError(
            f"to merge by {wanted.merge!r} takes a judge, and {prepared.model!r} is no language "
            "model: choose one with --model, give the agents 'verify' commands for "
            "'highest-score', or merge in another way"
        )

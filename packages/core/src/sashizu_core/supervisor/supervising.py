"""`supervise`: one goal, taken apart into steps that several agents carry out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from sashizu_core.agents import AgentDefinition, AgentEntry, Catalogue
from sashizu_core.agents.definition import agent_key
from sashizu_core.errors import UsageError, nearest
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.asked import Asked, asked_by
from sashizu_core.runtime.conducting import conducting
from sashizu_core.runtime.opened_run import guarded, sources_of
from sashizu_core.runtime.plan import find_model
from sashizu_core.runtime.redacting import redacted_report
from sashizu_core.runtime.written_plan import other_version
from sashizu_core.supervisor.judging import JUDGE, judge
from sashizu_core.supervisor.merging import MERGES, Merge
from sashizu_core.supervisor.planner import PLANNER, one_each, planner, planning_task
from sashizu_core.supervisor.plans import STRATEGIES, StepPlan, Strategy
from sashizu_core.supervisor.report import Supervision
from sashizu_core.supervisor.wanted import Wanted
from sashizu_core.supervisor.working import Work
from sashizu_core.trust import TrustStore
from sashizu_core.types import Limits, Task

__all__ = ["supervise"]

_COMPARING = ("voting", "first-success", "highest-score", "judge")
_OURS = frozenset({PLANNER, JUDGE})


async def supervise(
    goal: str,
    *,
    agents: Sequence[str] = (),
    strategy: Strategy = "hybrid",
    merge: Merge = "concatenate",
    scope: Sequence[str] = (),
    models: Sequence[str] = (),
    field: str = "",
    only_plan: bool = False,
    limits: Mapping[str, Limits] | None = None,
    definitions: Sequence[AgentDefinition] = (),
    **options: Any,
) -> Supervision:
    """Plan a goal, carry the plan out with several agents, and make one answer of theirs.

    A model makes the plan, unless every agent is asked the same. Steps run as soon as those they
    wait for are done, and get their answers as data. Steps that fail are planned anew, once. All of
    it, planner and judge included, is one run under one budget.

    Args:
        goal: what is to be reached.
        agents: the names of those that may be used; without any, all that need no further trust.
        strategy: `sequential` runs one step at a time, `parallel` all at once, `hybrid` as the plan
            says.
        merge: how one answer is made of several: `concatenate` joins those of all steps, the others
            take one of those of the last steps, which no other needs, and of several models' to a
            step.
        scope: paths to look at, relative to the workspace or absolute.
        models: each step runs on every one of them at once; without any, on each agent's own.
        field: what `voting` compares in answers that are JSON, such as `verdict`.
        only_plan: make the plan and run nothing of it.
        limits: what an instance of an agent may use, by name.
        definitions: agents beside those found in files; they take precedence by name.
        options: what `delegate_parallel` takes besides; `model` is for planner, judge and agents.

    Raises:
        UsageError: something asked for does not exist or does not fit together.
        TrustNeeded: a named agent comes from the workspace, and nobody has trusted its file.
        MissingPackage: a budget or a durable record is asked for and its package is absent.
        RecordError: the record cannot be written; no effect happened unrecorded.
    """
    asked = asked_by((), agents=definitions, **options)
    wanted = Wanted(
        goal,
        dict.fromkeys(agents, ""),
        bool(agents),
        strategy,
        merge,
        tuple(scope),
        tuple(dict.fromkeys(models)),
        field,
        limits or {},
    )
    _check(wanted, asked)
    return await guarded(asked, partial(_supervised, wanted, only_plan))


def _check(wanted: Wanted, asked: Asked) -> None:
    for name, value, known in (
        ("strategy", wanted.strategy, STRATEGIES),
        ("merge", wanted.merge, MERGES),
    ):
        if value not in known:
            hint = nearest(value, known)
            raise UsageError(f"unknown {name} {value!r}{hint}; known: {', '.join(known)}")
    if not wanted.goal.strip():
        raise UsageError("the goal is empty")
    if wanted.voted_field and wanted.merge != "voting":
        raise UsageError(f"a field is compared by voting; {wanted.merge!r} compares none")
    for name in wanted.models:
        find_model(name, asked.registry.models)


async def supervise_again(written: Mapping[str, Any], asked: Asked) -> Supervision:
    """What a supervisor was asked once, done again or gone on with.

    `written` is what was kept of it; `asked` holds the definitions of that run.

    Raises:
        SashizuError: see `supervise`; another version wrote it.
    """
    try:
        values = written["wanted"]
        limits = {name: Limits(**each) for name, each in values["limits"].items()}
        told = {**values, "scope": tuple(values["scope"]), "models": tuple(values["models"])}
        wanted = Wanted(**{**told, "limits": limits})
        only_plan = bool(written["only_plan"])
    except (KeyError, TypeError, ValueError) as error:
        raise other_version(error) from error
    return await guarded(asked, partial(_carried_out, wanted, only_plan))


# --- the run --------------------------------------------------------------------------------------


async def _supervised(
    wanted: Wanted, only_plan: bool, asked: Asked, redactor: Redactor
) -> Supervision:
    chosen = _chosen(sources_of(asked).catalogue, wanted, asked)
    wanted = replace(wanted, agents=chosen)
    tools = asked.registry.tools
    ours = [planner(list(chosen), tools), judge(tools)]
    return await _carried_out(
        wanted, only_plan, replace(asked, agents=[*asked.agents, *ours]), redactor
    )


async def _carried_out(
    wanted: Wanted, only_plan: bool, asked: Asked, redactor: Redactor
) -> Supervision:
    """Supervise with agents that are chosen, planner and judge among the definitions."""
    plan = _rule_plan(wanted)
    written = {"wanted": asdict(wanted), "only_plan": only_plan}
    asked = replace(asked, tasks=_first_tasks(wanted, plan), supervised=written)
    about = {"strategy": wanted.strategy, "merge": wanted.merge}
    async with conducting(asked, sources_of(asked), redactor, about=about) as conductor:
        jobs = 1 if wanted.strategy == "sequential" else asked.jobs
        found = await Work(wanted, conductor, jobs).run(plan, only_plan=only_plan)
        conductor.ok = found.ok
    return redacted_report(found, redactor)


def _chosen(catalogue: Catalogue, wanted: Wanted, asked: Asked) -> dict[str, str]:
    """The agents that may be used and their purposes.

    Raises:
        UsageError: a name is unknown, or there is none at all.
    """
    entries: list[AgentEntry]
    if wanted.named:
        entries = [catalogue.entry(name) for name in wanted.agents]
        TrustStore().require(asked.root, entries)
    else:
        barred = {file.agent for file in TrustStore().untrusted(asked.root, catalogue)}
        entries = [entry for entry in catalogue if entry.name not in barred]
    chosen = {entry.name: entry.definition.goal for entry in entries}
    taken = {agent_key(name) for name in chosen} & _OURS
    if taken and wanted.named:
        raise UsageError(f"{', '.join(sorted(taken))} plans and judges, and does no step")
    if not chosen:
        raise UsageError("there is no agent that could do a step: name some, or trust this folder")
    return {name: goal for name, goal in chosen.items() if agent_key(name) not in taken}


def _rule_plan(wanted: Wanted) -> StepPlan | None:
    """The plan where every agent is asked the same, which takes no model; else None."""
    if wanted.named and wanted.strategy == "parallel" and wanted.merge in _COMPARING:
        return one_each(wanted.goal, list(wanted.agents))
    return None


def _first_tasks(wanted: Wanted, plan: StepPlan | None) -> list[Task]:
    if plan is not None:
        return [task for step in plan.steps for task in wanted.tasks_of(step)]
    task = planning_task(
        wanted.goal,
        wanted.agents,
        wanted.strategy,
        wanted.merge,
        named=wanted.named,
        scope=wanted.scope,
    )
    return [replace(task, limits=wanted.limits_of(PLANNER))]

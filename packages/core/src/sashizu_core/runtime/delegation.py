"""Many agents at once under one budget, one policy, one record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import anyio

from sashizu_core.agents import AgentDefinition
from sashizu_core.control import RunHandle
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.handoff import Received
from sashizu_core.home import state_home
from sashizu_core.ids import RunId
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Approver, EventSink
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.asked import Asked, asked_by, handoff_of
from sashizu_core.runtime.at_once import at_once
from sashizu_core.runtime.bracket import bracketed, deadline, run_status
from sashizu_core.runtime.conversation import Conversation, save_conversation
from sashizu_core.runtime.instances import Instance, above_all, agent_id_of, instance_of
from sashizu_core.runtime.measuring import devices_measured
from sashizu_core.runtime.opened_run import check_ledger, guarded, opened_run, sources_of
from sashizu_core.runtime.places import with_isolation
from sashizu_core.runtime.plan import AgentPlan, Sources, plan_agents
from sashizu_core.runtime.redacting import redacted_messages, redacted_report
from sashizu_core.runtime.repeated_plans import repeated_plans
from sashizu_core.runtime.run_parts import RunParts
from sashizu_core.runtime.spawning import spawning_plans
from sashizu_core.runtime.written_plan import read_history
from sashizu_core.settings import Settings
from sashizu_core.trust import TrustStore
from sashizu_core.types import AgentReport, Limits, RunReport, Task

__all__ = ["delegate", "delegate_parallel", "plans_of", "run_asked"]


async def delegate(task: Task, **options: Any) -> AgentReport:
    """Run one agent; takes what `delegate_parallel` takes."""
    report = await delegate_parallel([task], **options)
    return report.results[0]


async def delegate_parallel(
    tasks: Sequence[Task],
    *,
    workspace: Path | str = ".",
    budget: Limits | None = None,
    deadline_s: float | None = None,
    jobs: int | None = None,
    model: str | None = None,
    audit: bool = True,
    isolation: str | None = None,
    agents: Sequence[AgentDefinition] = (),
    sinks: Sequence[EventSink] = (),
    approver: Approver | None = None,
    on_text: Callable[[str, str], None] | None = None,
    on_line: Callable[[str, str], None] | None = None,
    on_start: Callable[[RunHandle], None] | None = None,
    continue_conversation: str | None = None,
    settings: Settings | None = None,
    registry: Registry | None = None,
    run_id: RunId | None = None,
    received: Received | None = None,
    rebalance: bool = False,
) -> RunReport:
    """Run each task in an agent instance of its own and report in the order given.

    An agent that fails, runs out of budget or time, or is cancelled, becomes its report and never
    harms a sibling.

    Args:
        tasks: what is asked; the same agent twice is two instances.
        workspace: the folder the agents may work in.
        budget: what the whole run may use; None takes the settings'.
        deadline_s: seconds for the whole run.
        jobs: how many agents work at once.
        model: a model for every agent, before what their definitions say.
        audit: False runs without a durable record.
        isolation: `worktree` gives every agent a folder of its own, as do the names that plugins
            offer; `none` gives none to any, `auto` leaves it to their definitions and to what they
            may do; None takes the settings'.
        agents: definitions beside those found in files; they take precedence by name.
        sinks: further sinks for this run's events.
        approver: who answers when a rule says `ask`; None denies.
        on_text: called with agent id and text as answers stream in.
        on_line: called with agent id and a line of what a tool prints while it runs, without
            secrets; at most ten times a second for each agent.
        on_start: called once with a handle that can cancel the run.
        continue_conversation: the id of a conversation to go on with; needs exactly one task.
        settings: None reads them for the workspace.
        registry: None wires the installed plugins.
        run_id: None makes a new one.
        received: what another process handed over, all of this happens below it; None looks for it
            in the environment.
        rebalance: what an agent with limits of its own leaves unspent goes to siblings that ask for
            more than theirs; the limits above them stay as they are.

    Raises:
        UsageError: something asked for does not exist or does not fit together.
        TrustNeeded: an agent comes from the workspace, and nobody has trusted its file as it is.
        MissingPackage: a budget or a durable record is asked for and its package is absent.
        RecordError: the record cannot be written; no effect happened unrecorded.
    """
    asked = asked_by(
        tasks,
        workspace=workspace,
        budget=budget,
        deadline_s=deadline_s,
        jobs=jobs,
        model=model,
        audit=audit,
        isolation=isolation,
        agents=agents,
        sinks=sinks,
        approver=approver,
        on_text=on_text,
        on_line=on_line,
        on_start=on_start,
        continue_conversation=continue_conversation,
        settings=settings,
        registry=registry,
        run_id=run_id,
        received=received,
        rebalance=rebalance,
    )
    return await run_asked(asked)


async def run_asked(asked: Asked) -> RunReport:
    """What `delegate_parallel` does, once everything that it takes is gathered.

    Raises:
        SashizuError: see `delegate_parallel`.
    """
    if asked.settings.run.executor != "local":
        from sashizu_core.runtime.handing_over import hand_over

        return await guarded(asked, lambda placed, _: hand_over(placed))
    return await guarded(asked, _run)


async def _run(asked: Asked, redactor: Redactor) -> RunReport:
    sources = sources_of(asked)
    plans = await with_isolation(
        plans_of(asked, sources), asked.registry, asked.root, asked=asked.isolation, jobs=asked.jobs
    )
    async with opened_run(asked, sources, plans, redactor) as opened:
        report = await _execute(asked, plans, opened.parts)
        if asked.received is None or not asked.received.hosted:  # else it was never announced
            opened.control.ended(run_status(report, opened.parts.handle), report.success_count)
        return report


def plans_of(asked: Asked, sources: Sources) -> list[AgentPlan]:
    """What the agents of a request will do, before anything is opened."""
    tasks = list(asked.tasks)
    if asked.conversation is not None:
        if len(tasks) != 1:
            raise UsageError(f"one conversation is continued by one agent, not by {len(tasks)}")
        model = tasks[0].model or asked.model or asked.conversation.model
        tasks = [replace(tasks[0], agent=asked.conversation.agent, model=model)]
    check_ledger(asked)
    if asked.past is not None:
        return repeated_plans(tasks, asked, partial(_new_plans, asked, sources))
    return _new_plans(asked, sources, tasks)


def _new_plans(asked: Asked, sources: Sources, tasks: Sequence[Task]) -> list[AgentPlan]:
    catalogue = sources.catalogue
    TrustStore().require(asked.root, [catalogue.entry(task.agent) for task in tasks])
    plans = plan_agents(
        tasks,
        catalogue=catalogue,
        registry=asked.registry,
        root=asked.root,
        run_id=asked.run_id,
        default_model=asked.settings.run.model,
        model=asked.model,
        policy=asked.settings.policy,
        received=handoff_of(asked),
        begun_above=asked.received is not None and asked.received.hosted,
        agent_deadline_s=asked.settings.run.agent_deadline_s,
        folders=dict(asked.named_before),
    )
    return spawning_plans(plans, asked)


# --- the run itself -------------------------------------------------------------------------------


async def _execute(asked: Asked, plans: Sequence[AgentPlan], parts: RunParts) -> RunReport:
    started = monotonic()
    async with bracketed(asked, plans, parts) as status:
        instances = [await _instance(asked, plan, parts) for plan in plans]
        spawning = parts.spawning
        parts.handle.snapshot = lambda: {
            "agent_states": [
                *(asdict(instance.progress()) for instance in instances),
                *(asdict(progress) for progress in (spawning.progress() if spawning else ())),
            ]
        }
        calls = [
            instance.run if spawning is None else partial(spawning.work, instance)
            for instance in instances
        ]
        if asked.on_start is not None:
            asked.on_start(parts.handle)
        async with deadline(asked, parts.handle), devices_measured(asked, parts.recorder):
            results = await at_once(calls, jobs=asked.jobs)
        report = await _concluded(asked, plans, parts, instances, results, started)
        status.text = run_status(report, parts.handle)
    return report


async def _concluded(
    asked: Asked,
    plans: Sequence[AgentPlan],
    parts: RunParts,
    instances: Sequence[Instance],
    results: Sequence[AgentReport],
    started: float,
) -> RunReport:
    """Keep what outlives the run; what cannot be kept is told, and costs nobody's report."""
    warnings = list(parts.notes)
    kept = []
    for instance, result in zip(instances, results, strict=True):
        try:
            kept_as = await _keep(instance, result, asked, parts.recorder.redactor)
            kept.append(replace(result, conversation_id=kept_as))
            if kept_as != result.conversation_id and kept_as:
                warnings.append(
                    f"the conversation {result.conversation_id} was continued by another run "
                    f"meanwhile; this one is kept as {kept_as}"
                )
        except SashizuError as error:
            warnings.append(str(error))
            kept.append(replace(result, conversation_id=""))
    merge = None
    try:
        merge = await parts.places.merge_plan()
    except SashizuError as error:
        warnings.append(f"what merging would do cannot be told: {error}")
    report = RunReport(
        run_id=asked.run_id,
        requested_agents=tuple(task.agent for task in asked.tasks),
        resolved_agents=tuple(plan.name for plan in plans),
        results=kept,
        budget=parts.root.state() if parts.root is not None else None,
        duration_s=monotonic() - started,
        merge=merge,
        warnings=tuple(warnings),
    )
    return redacted_report(report, parts.recorder.redactor)


async def _instance(asked: Asked, plan: AgentPlan, parts: RunParts) -> Instance:
    conversation = asked.conversation
    if conversation is not None:
        conversation_id = conversation.id
    else:
        conversation_id = Conversation.new_id() if _retention(plan) else ""
    agent_id = agent_id_of(plan)
    history = conversation.messages if conversation is not None else ()
    if plan.document is not None:
        history = read_history(plan.document)
    return instance_of(
        plan,
        parts,
        agent_id,
        await parts.places.of(plan, agent_id),
        above=above_all(asked, parts),
        conversation_id=conversation_id,
        history=history,
    )


def _retention(plan: AgentPlan) -> Literal["session", "permanent"] | None:
    """How long the conversation of an agent is kept; None where it is not."""
    said = plan.definition.policies.context.retention
    return None if said == "job" else said


async def _keep(instance: Instance, report: AgentReport, asked: Asked, redactor: Redactor) -> str:
    """Keep a conversation that may be continued, without secrets; returns its id.

    The id is empty where there is none.
    """
    if not instance.conversation_id or not instance.messages:
        return ""
    before = asked.conversation
    conversation = Conversation(
        instance.conversation_id,
        instance.plan.name,
        instance.plan.model,
        redacted_messages(instance.messages, redactor),
        report.usage + before.used if before is not None else report.usage,
        (*(before.runs if before is not None else ()), asked.run_id),
        _retention(instance.plan) or "session",
    )
    kept = await anyio.to_thread.run_sync(save_conversation, state_home(), conversation)
    return kept.id

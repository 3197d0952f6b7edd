"""The other side of `hosted`: one agent instance at work in a process that was started for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial

from sashizu_core.agents import AgentDefinition
from sashizu_core.agents.definition import agent_key
from sashizu_core.control import RunHandle
from sashizu_core.errors import UsageError
from sashizu_core.handoff import Received
from sashizu_core.hosts import HostedWork
from sashizu_core.ids import AgentId
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Approver, Budget
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.asked import Asked, asked_by
from sashizu_core.runtime.bracket import deadline, sandbox_events
from sashizu_core.runtime.instance import AgentInstance
from sashizu_core.runtime.opened_run import guarded, opened_run, sources_of
from sashizu_core.runtime.opening import span_of
from sashizu_core.runtime.plan import plan_child
from sashizu_core.runtime.received import beneath
from sashizu_core.runtime.run_parts import Above
from sashizu_core.runtime.spawning import spawning_plans
from sashizu_core.settings import Settings
from sashizu_core.types import AgentReport, Limits

__all__ = ["run_hosted"]


async def run_hosted(
    work: HostedWork,
    received: Received,
    budget: Budget,
    *,
    settings: Settings,
    registry: Registry,
    approver: Approver | None = None,
    on_start: Callable[[RunHandle], None] | None = None,
) -> AgentReport:
    """Do an agent's work below a lease; its beginning and end are recorded by who gave it.

    `budget` is where the lease was redeemed. What the work says beside the lease can only narrow.

    Raises:
        UsageError: the definition, the model or a tool is none.
        MissingPackage: a package is missing that the other process has.
        RecordError: the record cannot be written.
    """
    asked = asked_by(
        (work.task,),
        workspace=work.workspace,
        budget=Limits(),
        jobs=1,  # who waits for this agent keeps one place for it and all those below
        model=work.every_model,
        audit=work.audit,
        isolation=work.isolation,
        agents=tuple(_definitions(work)),
        approver=approver,
        on_start=on_start,
        settings=settings,
        registry=registry,
    )
    asked = beneath(asked, replace(received, hosted=True), budget)
    asked = replace(asked, settings_root=work.settings_root)
    return await guarded(asked, partial(_hosted, work))


def _definitions(work: HostedWork) -> Iterator[AgentDefinition]:
    own = _definition(work.definition).model_copy(update={"name": work.task.agent})
    yield own
    for values in work.definitions:
        other = _definition(values)
        if agent_key(other.name) != agent_key(own.name):
            yield other


def _definition(values: object) -> AgentDefinition:
    try:
        return AgentDefinition.model_validate(values)
    except ValueError as error:
        raise UsageError(f"what was handed over is no definition of an agent: {error}") from None


async def _hosted(work: HostedWork, asked: Asked, redactor: Redactor) -> AgentReport:
    assert asked.received is not None
    handoff, sources = asked.received.handoff, sources_of(asked)
    plan = plan_child(work.task, sources, handoff.folder, handoff.ceiling, default_model=work.model)
    (plan,) = spawning_plans([plan], asked)
    async with opened_run(asked, sources, [plan], redactor) as opened:
        parts = opened.parts
        if events := sandbox_events(parts):
            await parts.recorder.record(events)
        agent_id = AgentId(handoff.agent_id)
        instance = AgentInstance(
            plan,
            parts,
            agent_id,
            await parts.places.of(plan, agent_id),
            above=Above(handoff.depth, handoff.parent_agent_id),
            own_span=span_of(handoff.traceparent)[1] or "",
        )
        parts.handle.snapshot = lambda: {"agent_states": [asdict(instance.progress())]}
        if asked.on_start is not None:
            asked.on_start(parts.handle)
        spawning = parts.spawning
        call = instance.run if spawning is None else partial(spawning.work, instance)
        async with deadline(asked, parts.handle):
            return await call()

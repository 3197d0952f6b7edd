"""What stands in for the loop of an agent whose work a program does, such as another agent CLI."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from sashizu_core.protocols import ToolContext
from sashizu_core.runtime.asking_again import may_again
from sashizu_core.runtime.instance_parts import InstanceParts
from sashizu_core.runtime.taking_over import take_over_beneath
from sashizu_core.turn.engine import Engine, EngineJob, EngineLoop
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.past_engine import RecordedEngineLoop, worked
from sashizu_core.types import Message

__all__ = ["AnyEngineLoop", "engine_loop"]

AnyEngineLoop = EngineLoop | RecordedEngineLoop


def engine_loop(
    at: InstanceParts, context: ToolContext, messages: Sequence[Message]
) -> AnyEngineLoop | None:
    """The loop of a program; None where a model does the work, call by call."""
    if not at.plan.engine:
        return None
    if at.past is not None and worked(at.past):
        return _again(at, at.past)
    engine = at.inference.model
    return _at_work(at, engine, context, messages) if isinstance(engine, Engine) else None


def _at_work(
    at: InstanceParts, engine: Engine, context: ToolContext, messages: Sequence[Message]
) -> EngineLoop:
    system, *_, user = messages
    job = EngineJob(
        instructions=system.content,
        task=user.content,
        command=at.plan.definition.command,
        folder=at.place.workspace.root,
        depth=at.depth,
        context=context,
        subject=at.subject,
        steps=at.steps,
        ledger=at.inference.ledger,
        book=at.inference.book,
        on_text=at.on_text,
    )
    criteria = at.plan.definition.success_criteria
    again = partial(may_again, at.run.approvals, at.subject, engine.info.provider)
    return EngineLoop(engine, job, at.inference, criteria, again=again)


def _again(at: InstanceParts, past: AgentPast) -> RecordedEngineLoop:
    """What a program gave before, without it."""
    run_past = at.run.past
    assert run_past is not None
    return RecordedEngineLoop(
        past,
        at.steps,
        at.inference,
        partial(take_over_beneath, run_past, past, at.steps.recorder),
        at.plan.definition.success_criteria,
    )

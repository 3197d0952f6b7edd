"""An agent at work until it has answered, is stopped, or its time is over."""

from __future__ import annotations

import anyio

from sashizu_core.runtime.engine_loops import AnyEngineLoop
from sashizu_core.runtime.instance_parts import InstanceParts
from sashizu_core.turn.engine import EngineLoop
from sashizu_core.turn.loop import AgentLoop, Ending
from sashizu_core.turn.past import StoppedAsRecorded
from sashizu_core.turn.past_engine import RecordedEngineLoop
from sashizu_core.turn.reacting import Reactor
from sashizu_core.types import Message, Outcome

__all__ = ["at_work_until"]


async def at_work_until(
    deadline: float,
    at: InstanceParts,
    loop: AgentLoop | AnyEngineLoop,
    reactor: Reactor | None,
    messages: list[Message],
) -> Ending:
    """Let an agent work until a deadline, on the clock of `anyio.current_time`.

    What reacts to its end and wants more is added to `messages`.
    """
    handle = at.run.handle
    ending: Ending | None = None
    with anyio.CancelScope(deadline=deadline) as scope:
        handle.track(at.agent_id, scope)
        try:
            ending = await _let_go(loop, at.plan.name, reactor, messages)
        except* StoppedAsRecorded as stopped:
            ending = loop.stopped(_recorded_stop(stopped), "stopped, as it was recorded")
    handle.untrack(at.agent_id)
    if ending is not None and not scope.cancelled_caught:
        return ending
    if anyio.current_time() >= deadline:
        return loop.stopped(
            Outcome.DEADLINE, f"the deadline of {at.plan.deadline_s:g} s has passed"
        )
    outcome = Outcome.DEADLINE if handle.expired else Outcome.CANCELLED
    return loop.stopped(outcome, handle.reason or "cancelled")


async def _let_go(
    loop: AgentLoop | AnyEngineLoop, name: str, reactor: Reactor | None, messages: list[Message]
) -> Ending:
    """Run an agent until it has answered and nothing that reacts keeps it."""
    ending = await loop.run()
    if isinstance(loop, EngineLoop | RecordedEngineLoop):
        return ending  # its program has gone: nobody is left who could be asked to go on
    while reactor is not None and ending.outcome is Outcome.ANSWERED:
        more = await reactor.ends(name, ending.answer.text)
        if not more:
            break
        messages.append(Message("user", more))
        ending = await loop.run()
    return ending


def _recorded_stop(group: BaseExceptionGroup[StoppedAsRecorded]) -> Outcome:
    """How the recorded agent was stopped."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, StoppedAsRecorded)
    return found.outcome

"""Gives the folder of an agent that goes on beside a recorded one the files that the other had."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sashizu_core.errors import SashizuError
from sashizu_core.grants import PathRequest, PermissionRequest, Subject, ToolRequest
from sashizu_core.permissions import authorize
from sashizu_core.protocols import Policy, Tool, ToolContext
from sashizu_core.runtime.places import Place
from sashizu_core.runtime.run_past import RunPast
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.recorded_step import RESTORE_FILES, RecordedStep
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import StepKind

__all__ = ["restored"]

MOST_LACKS = 50
"""Sentences that one event carries."""


@dataclass(frozen=True, slots=True)
class _Made:
    """A recorded call that may have changed files in the folder. `text` are its arguments."""

    past: AgentPast
    step: RecordedStep

    @property
    def told(self) -> str:
        tool, seq = self.step.intent.get("tool"), self.step.seq
        return f"what {tool!r} did in step {seq} of {self.past.name!r}"

    @property
    def text(self) -> str:
        """The arguments.

        Raises:
            SashizuError: they are not kept.
        """
        return self.past.text(str((self.step.intent.get("blobs") or ("",))[0]))


_Still = Callable[[_Made, Sequence[PermissionRequest]], str]
"""Says why a call is not allowed by now; empty if it is."""


async def restored(
    run_past: RunPast,
    steps: StepContext,
    place: Place,
    tools: Mapping[str, Tool],
    subject: Subject,
    context: ToolContext,
    policies: Sequence[Policy] = (),
) -> None:
    """Make the writes of file tools again that are on record of an agent, and allowed by now.

    Both events of it have no number: an agent's steps are those of its history.

    `run_past.lacks` hears of what cannot be made again, such as what programs wrote.

    Raises:
        RecordError: the record cannot be written.
    """
    past, recorder = steps.past, steps.recorder
    if past is None:
        return
    if past.restored:  # in a run that this one repeats or goes on from
        recorder.write(past.copies(past.restored, recorder))
        return
    if not place.begun:
        return
    common = {"step_kind": StepKind.IDEMPOTENT.value, "op": RESTORE_FILES, "tool": "files"}
    recorder.write([recorder.event("tool.requested", common)])
    await recorder.durable()

    def still(made: _Made, requests: Sequence[PermissionRequest]) -> str:
        return _why_not(made, requests, subject, policies)

    lacks = [lack async for lack in _lacks(run_past, past, place, tools, still, context)]
    attrs = {"begun": place.begun, "lacks": lacks[:MOST_LACKS]}
    recorder.write([recorder.event("tool.ended", {**common, "status": "ok", "attrs": attrs})])
    run_past.lacks += lacks


async def _lacks(
    run_past: RunPast,
    past: AgentPast,
    place: Place,
    tools: Mapping[str, Tool],
    still: _Still,
    context: ToolContext,
) -> AsyncIterator[str]:
    """Make the calls again, and tell of those that cannot be."""
    if place.begun == "ended":
        return  # all of it is there
    if place.begun == "today":
        yield (
            f"the folder of {past.name!r} is gone, and so is what it began with: its files are "
            "those of today"
        )
    for made in sorted(_calls(run_past, past), key=lambda each: _time(each.step)):
        if why := await _again(made, tools, still, context):
            yield f"the folder of {past.name!r} lacks {made.told}: {why}"


def _calls(run_past: RunPast, past: AgentPast) -> Iterator[_Made]:
    """What changed files where an agent worked: its own calls, and those of agents beneath it."""
    apart = {
        agent.past.agent_id
        for agent in run_past.agents
        if agent.document.get("isolation") not in (None, "none")
    }
    for each in run_past.beneath(past.agent_id):
        if each is not past and each.agent_id in apart:
            continue
        for step in each.steps.values():
            if _changes(step):
                yield _Made(each, step)


def _changes(step: RecordedStep) -> bool:
    decided = step.decision
    return (
        step.intent.get("op") == "execute_tool"
        and step.kind in (StepKind.EFFECT, StepKind.IDEMPOTENT)
        and decided is not None
        and decided.allowed
        and step.outcome.get("status") != "denied"
    )


def _why_not(
    made: _Made,
    requests: Sequence[PermissionRequest],
    subject: Subject,
    policies: Sequence[Policy],
) -> str:
    """Why a call is not allowed by now; what somebody has allowed is not asked for again."""
    asked = (ToolRequest(str(made.step.intent.get("tool"))), *requests)
    found, then = authorize(asked, subject, policies), made.step.decision
    if found.allowed or (found.verdict == "ask" and then is not None and then.decided_by == "user"):
        return ""
    if found.verdict == "ask":
        return f"it is allowed only where somebody says so by now ({found.reason})"
    return f"it is not allowed any more ({found.reason})"


async def _again(
    made: _Made, tools: Mapping[str, Tool], still: _Still, context: ToolContext
) -> str:
    """Make one call again; says why that cannot be done."""
    tool = tools.get(str(made.step.intent.get("tool")))
    if tool is None:
        return "the agent has no such tool"
    try:
        arguments = tool.parse(made.text)
        requests = tool.requests(arguments, context)
        if not all(isinstance(request, PathRequest) for request in requests) or not requests:
            return "it is not known which files it changed"
        if made.step.finished and made.step.outcome.get("status") != "ok":
            return ""  # it failed then
        if made.step.intent.get("redactions"):
            return "what it wrote held a secret, which is not on record"
        if why := still(made, requests):
            return why
        result = await tool.run(arguments, context)
    except SashizuError as error:
        return str(error)
    return result.content if result.is_error else ""


def _time(step: RecordedStep) -> int:
    return int((step.outcome or step.intent).get("ts_ns") or 0)

"""The beginning and the end of a run that was handed over, as they are recorded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from sashizu_core.plugins import Registry
from sashizu_core.protocols import EventSink
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.agent_events import counted_limits
from sashizu_core.runtime.handed_run import HandedRun
from sashizu_core.runtime.opening import Opened
from sashizu_core.runtime.written_plan import written
from sashizu_core.turn.record import Recorder
from sashizu_core.types import AgentReport, Amount, BudgetState

__all__ = ["ended_fields", "recorder_of", "started_fields"]


@asynccontextmanager
async def recorder_of(
    registry: Registry, context: Mapping[str, Any], redactor: Redactor, told: EventSink
) -> AsyncIterator[Recorder]:
    """Records what is of the run alone; `told` hears of it, too.

    Raises:
        MissingPackage: nothing here keeps a record.
    """
    async with AsyncExitStack() as stack:
        yield Recorder([*(await Opened(registry, stack).sinks()), told], context, redactor)


def started_fields(run: HandedRun, recorder: Recorder) -> dict[str, Any]:
    """The columns of the beginning; what was asked is kept with them."""
    asked = run.asked
    fields: dict[str, Any] = {
        "op": "invoke_workflow",
        "attrs": {
            "agents": [task.agent for task in run.tasks],
            "jobs": asked.jobs,
            "isolation": ["none" for _ in run.agents],
            "labels": sorted(run.labels),
            "limits": counted_limits(asked.budget),
        },
    }
    if asked.budget.tokens is not None:
        fields |= {"budget_unit": "tokens", "budget_limit": asked.budget.tokens}
    document = written(json.loads(json.dumps(run.values["asked"])), recorder.redactor)
    return fields | recorder.keep(document)


def ended_fields(
    status: str, reports: Sequence[AgentReport], state: BudgetState | None, seconds: float
) -> dict[str, Any]:
    """The columns of the end; `seconds` are those since it was begun, or gone on with.

    `state` is how its budget stands, None where each agent had a share.
    """
    spent = state.spent if state is not None else Amount()
    for report in reports if state is None else ():
        if report.budget is not None:
            spent = spent + report.budget.spent
    return {
        "op": "invoke_workflow",
        "status": status,
        "duration_ns": int(max(0.0, seconds) * 1e9),
        "budget_spent": spent.tokens,
        "attrs": {"nusd": spent.nusd, "requests": spent.requests, "agents": spent.agents},
    }

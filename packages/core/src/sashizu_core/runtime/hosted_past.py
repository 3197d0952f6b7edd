"""What an agent with a process of its own came to, as it is recorded: its work is one step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from sashizu_core.errors import SashizuError
from sashizu_core.protocols import BudgetNode
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.run_past import RunPast
from sashizu_core.runtime.taking_over import take_over_beneath
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.record import Recorder
from sashizu_core.types import (
    UNITS,
    AgentReport,
    Amount,
    Artifact,
    BackendUse,
    ChangedFile,
    Changes,
    Criterion,
    Outcome,
    Usage,
)

__all__ = ["as_recorded", "written_report"]

_OWN = ("agent_id", "duration_s", "conversation_id", "children", "budget")
"""Members of a report that are of who repeats it."""


def written_report(report: AgentReport, spent: Amount, redactor: Redactor) -> str:
    """What `as_recorded` reads: a report without those of agents beneath, and what was spent."""
    plain = asdict(replace(report, children=(), budget=None))
    said = {name: value for name, value in plain.items() if name not in _OWN}
    values = {**said, "outcome": report.outcome.value, "spent": asdict(spent)}
    return json.dumps(redactor.value(values), ensure_ascii=False)


def as_recorded(
    past: AgentPast,
    run_past: RunPast,
    recorder: Recorder,
    node: BudgetNode | None,
    own: AgentReport,
) -> tuple[AgentReport, Amount]:
    """The report of the recorded agent as that of `own`, with all that it did taken over.

    The second value is what was spent for it.

    Raises:
        SashizuError: its report is not on record.
        RecordError: the record cannot be written.
    """
    work = [event for event in past.events if not _of_this_process(event)]
    there = recorder.derive(project=None)  # where that process worked
    recorder.flush()
    there.write(past.copies(work, there))
    take_over_beneath(run_past, past, there)
    values = _report(past)
    spent = Amount(**{unit: int(values["spent"][unit]) for unit in UNITS})
    if node is not None and past.recomputes and past.ended.get("replay_of") is None:
        hold: Any = node.reserve(spent)
        hold.settle(spent)
    report = replace(
        own,
        status=values["status"],
        outcome=Outcome(values["outcome"]),
        answer=values["answer"],
        criteria=tuple(Criterion(**each) for each in values["criteria"]),
        artifacts=tuple(Artifact(**each) for each in values["artifacts"]),
        missing=tuple(values["missing"]),
        usage=Usage(**values["usage"]),
        doubtful_tokens=values["doubtful_tokens"],
        steps=values["steps"],
        error=values["error"],
        changes=_changes(values["changes"]),
        backends=tuple(BackendUse(**each) for each in values.get("backends", ())),
    )
    return report, spent


def _of_this_process(event: Mapping[str, Any]) -> bool:
    """Whether an event is of who started the other process, and made anew."""
    kind = str(event["kind"])
    return kind in ("agent.started", "agent.ended") or kind.startswith("writer.")


def _report(past: AgentPast) -> Mapping[str, Any]:
    if not past.ended.get("blobs"):
        raise SashizuError(f"what {past.name!r} came to in a process of its own is not on record")
    found: Mapping[str, Any] = json.loads(past.text(str(past.ended["blobs"][0])))
    return found


def _changes(values: Mapping[str, Any] | None) -> Changes | None:
    if values is None:
        return None
    files = tuple(ChangedFile(**each) for each in values["files"])
    return Changes(**{**values, "files": files})

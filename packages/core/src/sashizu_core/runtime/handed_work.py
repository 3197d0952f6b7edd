"""What the process of an agent is told of its work, beside the handoff."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sashizu_core.agents import AgentDefinition
from sashizu_core.handoff import Handoff
from sashizu_core.hosts import HostedWork
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.runtime.written_plan import plain_definition
from sashizu_core.types import Limits

__all__ = ["handed_work"]


def handed_work(plan: AgentPlan, handoff: Handoff, asked: Asked, workspace: Path) -> HostedWork:
    """The work of one agent; its limits and its deadline are those of the lease."""
    return HostedWork(
        handoff=handoff,
        task=replace(
            plan.task, agent=plan.name, model=plan.model, limits=Limits(), deadline_s=None
        ),
        definition=_as_in_file(plan.definition),
        model=plan.model,
        workspace=workspace,
        settings_root=asked.root,
        every_model=asked.model,
        isolation=asked.isolation,
        audit=asked.audit,
        definitions=tuple(map(_as_in_file, asked.agents)),
    )


def _as_in_file(definition: AgentDefinition) -> dict[str, Any]:
    """A definition as JSON values, under the name that it has in its file."""
    values = plain_definition(definition)
    del values["named"]
    return values

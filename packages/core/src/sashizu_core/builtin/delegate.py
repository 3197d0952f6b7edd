"""The tool `delegate`: an agent has another agent do a part of its work."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.errors import SpawnRefused, ToolError
from sashizu_core.grants import PathRequest, PermissionRequest, SpawnRequest
from sashizu_core.limits import parse_limits
from sashizu_core.protocols import Spawner, ToolContext
from sashizu_core.types import (
    AgentReport,
    StepKind,
    Task,
    ToolResult,
    ToolSchema,
    Usage,
)

__all__ = ["Delegate", "DelegateArguments"]

MOST_NAMED = 50
"""Agents that a model is told of by name."""

GOAL_CHARACTERS = 200
"""How much of what an agent is for a model is told."""

ANSWER_CHARACTERS = 50_000
"""How much of an agent's answer goes to the one that asked."""


class DelegateArguments(Arguments):
    agent: str = Field(min_length=1, max_length=100, description="The agent, by name.")
    goal: str = Field(
        min_length=1,
        max_length=50_000,
        description="What it should do. It sees nothing of this conversation: say all it needs.",
    )
    scope: tuple[str, ...] = Field(
        (), max_length=100, description="Paths that it should look at, relative to the workspace."
    )
    budget: tuple[str, ...] = Field(
        (),
        max_length=8,
        description="What it may use of your budget: '20000' tokens, '0.5usd', '10requests', '5m'.",
    )
    inputs: dict[str, str] = Field(
        default_factory=dict, max_length=50, description="Texts that it gets, by name."
    )


class Delegate(TypedTool[DelegateArguments]):
    """Runs one agent beneath the one that calls, and answers with its report as JSON."""

    name = "delegate"
    description = (
        "Have another agent do a part of the work, and wait for its report. It works under your "
        "budget, your deadline and your permission. Several calls in one answer run side by side. "
        "The report is JSON: status, criteria, artifacts, usage, and the agent's answer."
    )
    arguments = DelegateArguments
    kind = StepKind.CHILD

    def schema_for(self, context: ToolContext) -> ToolSchema:
        """The schema, with the agents that this one may start."""
        offered = context.spawner.offered() if context.spawner is not None else {}
        if not offered:
            return self.schema
        named = list(offered.items())[:MOST_NAMED]
        lines = [f"- {name}: {' '.join(goal.split())[:GOAL_CHARACTERS]}" for name, goal in named]
        if len(offered) > len(named):
            lines.append(f"- and {len(offered) - len(named)} more")
        description = "\n".join([self.description, "Agents:", *lines])
        return ToolSchema(self.name, description, self.schema.parameters)

    def requests(
        self, arguments: DelegateArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        """To start the agent, and to read what it is pointed at."""
        name = _spawner(context).name_of(arguments.agent)
        read = [PathRequest(path, "read") for path in _scope(arguments, context)]
        return [SpawnRequest(name), *read]

    async def run(self, arguments: DelegateArguments, context: ToolContext) -> ToolResult:
        """Run the agent to its end."""
        spawner = _spawner(context)
        task = Task(
            agent=spawner.name_of(arguments.agent),
            goal=arguments.goal,
            scope=_scope(arguments, context),
            inputs=arguments.inputs,
            limits=parse_limits(arguments.budget),
        )
        try:
            report = await spawner.spawn(task, step=context.step)
        except SpawnRefused as refused:
            return ToolResult(_refusal(task.agent, refused), True, "spawn_refused")
        return ToolResult(_told(report), not report.ok, "" if report.ok else report.outcome.value)


def _spawner(context: ToolContext) -> Spawner:
    if context.spawner is None:
        raise ToolError(f"{context.agent_name} may start no agent")
    return context.spawner


def _scope(arguments: DelegateArguments, context: ToolContext) -> tuple[str, ...]:
    return tuple(dict.fromkeys(context.workspace.name(path) for path in arguments.scope))


def _refusal(agent: str, refused: SpawnRefused) -> str:
    return _json(
        {
            "agent": agent,
            "status": "refused",
            "limit": refused.limit,
            "allowed": refused.allowed,
            "error": str(refused),
        }
    )


def _told(report: AgentReport) -> str:
    """A report as its reader gets it; the answer comes last, where a cut does least harm."""
    used = sum((each.usage for each in report.tree()), Usage(requests=0))
    told: dict[str, Any] = {
        "agent": report.agent,
        "agent_id": report.agent_id,
        "status": report.status,
        "outcome": report.outcome.value,
        "criteria": [
            {"text": each.text, "verdict": each.verdict, "evidence": each.evidence}
            for each in report.criteria
        ],
        "artifacts": [{"path": each.path, "sha256": each.sha256} for each in report.artifacts],
        "missing": list(report.missing),
        "usage": {
            "input_tokens": used.input_tokens,
            "output_tokens": used.output_tokens,
            "requests": used.requests,
            "agents": sum(1 for _ in report.tree()),
        },
    }
    if report.changes is not None:
        told["changes"] = {
            "branch": report.changes.branch,
            "files": [file.path for file in report.changes.files],
        }
    if report.error:
        told["error"] = report.error
    cut = len(report.answer) > ANSWER_CHARACTERS
    told["answer_cut"] = cut
    told["answer"] = report.answer[:ANSWER_CHARACTERS] if cut else report.answer
    return _json(told)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)

"""What the server's tools answer: models that structured content and its schemas are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sashizu_core.types import AgentReport, BudgetState, RunReport

from sashizu_mcp_server.server.arguments import input_schema

__all__ = [
    "AgentList",
    "BudgetStatus",
    "Listed",
    "Output",
    "Queried",
    "RunReported",
    "RunState",
    "RunStates",
    "TextOutput",
    "ToolAnswer",
    "answer_of",
    "budget_of",
    "output_schema",
    "reported",
]


MOST_TEXT = 200_000
"""Characters of an answer as text."""


class Output(BaseModel):
    model_config = ConfigDict(frozen=True)


class TextOutput(Output):
    """What a tool for files or programs answers."""

    text: str


class Listed(Output):
    name: str
    goal: str
    scope: Literal["shipped", "user", "repository", "given"]
    tools: tuple[str, ...]
    needs_trust: bool = Field(description="Whether a person has to trust its file first.")


class AgentList(Output):
    agents: tuple[Listed, ...]
    problems: tuple[str, ...] = Field(description="Files that could have been agents.")


class Checked(Output):
    text: str
    verdict: Literal["met", "not met", "not checked"]
    evidence: str


class Made(Output):
    path: str = Field(description="Relative to the workspace.")
    sha256: str
    bytes: int
    uri: str = Field(description="The resource that gives its content.")


class AgentResult(Output):
    agent: str
    agent_id: str
    status: Literal["ok", "error", "timeout", "cancelled"]
    outcome: str
    answer: str
    error: str
    criteria: tuple[Checked, ...]
    artifacts: tuple[Made, ...]
    missing: tuple[str, ...]
    tokens: int
    steps: int
    duration_s: float
    children: int = Field(description="How many agents it started, all levels below.")


class Figures(Output):
    tokens: int
    nusd: int = Field(description="Money in 10^-9 USD.")
    requests: int
    agents: int


class Limits(Output):
    tokens: int | None
    nusd: int | None
    requests: int | None
    agents: int | None
    seconds: float | None


class Budget(Output):
    name: str
    limits: Limits = Field(description="null is no limit of its own.")
    spent: Figures
    held: Figures
    overrun: Figures


class RunState(Output):
    """A run that may not have ended."""

    run_id: str
    status: Literal["running", "ok", "error", "timeout", "cancelled"]
    agents: tuple[str, ...]
    seconds: float = Field(description="How long it has taken so far, or took.")
    working: tuple[dict[str, Any], ...] = Field(
        description="Every agent: agent, agent_id, state, step, tool, tokens, limit."
    )


class RunStates(Output):
    runs: tuple[RunState, ...]


class RunReported(Output):
    """A run; `results` are there once it has ended, in the order in which they were asked."""

    run_id: str
    status: Literal["running", "ok", "error", "timeout", "cancelled"]
    results: tuple[AgentResult, ...]
    tokens: int
    duration_s: float
    budget: Budget | None
    warnings: tuple[str, ...]
    error: str
    answer: str = Field(
        "", description="Of supervise: the one answer. Of create_agent: the definition as YAML."
    )
    details: dict[str, Any] | None = Field(
        None,
        description="Of supervise: plan, steps and merge. Of create_agent: name, sha256, refused.",
    )


class BudgetStatus(Output):
    server: Budget | None = Field(description="null where no ledger is installed.")
    runs: tuple[RunState, ...]


class Queried(Output):
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool


class ToolAnswer:
    """What one call of a tool answers: text for a model, and the same as values."""

    __slots__ = ("is_error", "structured", "text")

    def __init__(
        self, text: str, structured: dict[str, Any] | None = None, *, is_error: bool = False
    ) -> None:
        self.text = text
        self.structured = structured
        self.is_error = is_error


def answer_of(text: str, output: Output) -> ToolAnswer:
    """An answer as text, which is cut where it is too long for a model, and as values."""
    if len(text) > MOST_TEXT:
        text = text[:MOST_TEXT] + "\n[cut]"
    return ToolAnswer(text, output.model_dump(mode="json"))


def output_schema(model: type[BaseModel]) -> Mapping[str, Any]:
    """The JSON Schema of structured content."""
    return input_schema(model)


def budget_of(state: BudgetState) -> Budget:
    """A node of the ledger as structured content."""

    def figures(amount: Any) -> Figures:
        return Figures(
            tokens=amount.tokens, nusd=amount.nusd, requests=amount.requests, agents=amount.agents
        )

    limits = state.limits
    return Budget(
        name=state.name,
        limits=Limits(
            tokens=limits.tokens,
            nusd=limits.nusd,
            requests=limits.requests,
            agents=limits.agents,
            seconds=limits.seconds,
        ),
        spent=figures(state.spent),
        held=figures(state.held),
        overrun=figures(state.overrun),
    )


def reported(
    report: RunReport, status: str, answer: str = "", details: dict[str, Any] | None = None
) -> RunReported:
    """A run that has ended."""
    return RunReported.model_validate(
        {
            "run_id": report.run_id,
            "status": status,
            "results": [_result(result, report.run_id) for result in report.results],
            "tokens": report.usage.tokens,
            "duration_s": round(report.duration_s, 3),
            "budget": budget_of(report.budget) if report.budget is not None else None,
            "warnings": report.warnings,
            "error": "",
            "answer": answer,
            "details": details,
        }
    )


def _result(result: AgentReport, run_id: str) -> dict[str, Any]:
    return {
        "agent": result.agent,
        "agent_id": result.agent_id,
        "status": result.status,
        "outcome": result.outcome.value,
        "answer": result.answer,
        "error": result.error,
        "criteria": [
            {"text": each.text, "verdict": each.verdict, "evidence": each.evidence}
            for each in result.criteria
        ],
        "artifacts": [
            {
                "path": each.path,
                "sha256": each.sha256,
                "bytes": each.bytes,
                "uri": f"artifact://{run_id}/{result.agent_id}/{index}",
            }
            for index, each in enumerate(result.artifacts)
        ],
        "missing": result.missing,
        "tokens": result.usage.tokens + result.doubtful_tokens,
        "steps": result.steps,
        "duration_s": round(result.duration_s, 3),
        "children": sum(1 for _ in result.tree()) - 1,
    }

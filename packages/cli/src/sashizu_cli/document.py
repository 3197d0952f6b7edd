"""The JSON of `-o`: its models, from which the shipped schema is made.

`python -m sashizu_cli.document` writes `report.schema.json` anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sashizu_core import types
from sashizu_core.types import Outcome

__all__ = ["SCHEMA_FILE", "ReportDocument", "document_text", "schema_text"]

SCHEMA_FILE = Path(__file__).with_name("report.schema.json")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)


class Criterion(_Part):
    text: str
    verdict: Literal["met", "not met", "not checked"]
    evidence: str


class Artifact(_Part):
    path: str = Field(description="Relative to the workspace.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    bytes: int


class Usage(_Part):
    input_tokens: int = Field(description="Cached tokens included.")
    output_tokens: int = Field(description="Reasoning tokens included.")
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    requests: int = Field(description="Attempts at a model call.")


class Amount(_Part):
    tokens: int
    nusd: int = Field(description="Money in 10^-9 USD.")
    requests: int
    agents: int


class Limits(_Part):
    tokens: int | None
    nusd: int | None
    requests: int | None
    agents: int | None
    seconds: float | None


class Budget(_Part):
    limits: Limits = Field(description="null is no limit of its own.")
    spent: Amount
    held: Amount
    overrun: Amount


class ChangedFile(_Part):
    path: str = Field(description="Relative to the repository.")
    change: Literal["added", "modified", "deleted"]


class Changes(_Part):
    """What an agent changed in a worktree of its own, as a commit."""

    branch: str
    base: str
    commit: str
    folder: str
    files: tuple[ChangedFile, ...]
    left_out: tuple[str, ...] = Field(description="What no commit holds, in the folder only.")


class Conflict(_Part):
    agent: str
    agent_id: str
    paths: tuple[str, ...]


class Merge(_Part):
    """What merging the changes of all agents would do."""

    clean: tuple[str, ...] = Field(description="Ids of agents whose changes apply.")
    conflicts: tuple[Conflict, ...]
    overlaps: tuple[str, ...] = Field(description="Paths that several agents changed.")


class BackendUse(_Part):
    """What really carried out the calls of a model or tool that more than one thing can."""

    kind: Literal["model", "tool"]
    name: str
    backend: str
    calls: int


class Result(_Part):
    """What became of one agent."""

    agent: str
    agent_id: str
    status: Literal["ok", "error", "timeout", "cancelled"]
    outcome: Outcome
    answer: str
    criteria: tuple[Criterion, ...]
    artifacts: tuple[Artifact, ...]
    usage: Usage = Field(description="What was billed.")
    doubtful_tokens: int = Field(
        description="Of calls that were sent and never billed; they count against the budget."
    )
    budget: Budget | None = Field(description="null where the run had no ledger.")
    steps: int
    duration_s: float
    error: str | None
    changes: Changes | None = Field(description="null where it had no worktree, or changed nothing")
    children: tuple[Result, ...] = Field(
        description="Of the agents that it started; their usage is not in its own."
    )
    backends: tuple[BackendUse, ...] = Field(
        description="What really answered, where more than one thing can."
    )


class ReportDocument(_Part):
    """The report of one run of sashizu; results in the order in which they were asked."""

    run_id: str
    requested_agents: tuple[str, ...]
    resolved_agents: tuple[str, ...]
    results: tuple[Result, ...]
    usage: Usage
    success_count: int
    total_count: int
    warnings: tuple[str, ...] = Field(description="What could not be kept.")
    merge: Merge | None = Field(description="null where no agent changed anything in a worktree.")


def document_text(report: types.RunReport) -> str:
    """The JSON text of a report, which fits the shipped schema."""
    document = ReportDocument(
        run_id=report.run_id,
        requested_agents=report.requested_agents,
        resolved_agents=report.resolved_agents,
        results=tuple(_result(result) for result in report.results),
        usage=Usage.model_validate(report.usage),
        success_count=report.success_count,
        total_count=len(report.results),
        warnings=tuple(_unicode(text) for text in report.warnings),
        merge=Merge.model_validate(report.merge) if report.merge is not None else None,
    )
    return document.model_dump_json(indent=2) + "\n"


def _result(result: types.AgentReport) -> Result:
    values = {name: _unicode(getattr(result, name)) for name in Result.model_fields}
    criteria = [_unicode(asdict(criterion)) for criterion in result.criteria]
    return Result.model_validate(
        values
        | {
            "error": _unicode(result.error) or None,
            "criteria": criteria,
            "children": tuple(_result(child) for child in result.children),
        }
    )


def _unicode(value: Any) -> Any:
    """Text without half surrogate pairs, which a model may write and JSON in UTF-8 cannot hold."""
    if isinstance(value, dict):
        return {key: _unicode(part) for key, part in value.items()}
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def schema_text() -> str:
    """The JSON Schema (draft 2020-12) of the document."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **ReportDocument.model_json_schema(mode="serialization"),
    }
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), "utf-8")

"""What the record says of an agent instance when it begins and when it has ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sashizu_core.permissions import effective, grants_sha256
from sashizu_core.protocols import BudgetNode
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.types import UNITS, AgentReport, Artifact, ChangedFile, Limits

__all__ = ["counted_limits", "end_fields", "start_fields"]

ARTIFACT_BYTES = 40_000
"""Bytes that the artifacts of one agent may take in the record, of about 60,000 of a line."""

ARTIFACT_OVERHEAD = 120
"""Bytes of one artifact beside its path."""

CHANGED_BYTES = 12_000
"""Bytes that the paths of changed files may take beside the artifacts."""


def start_fields(plan: AgentPlan, node: BudgetNode | None) -> dict[str, Any]:
    """The columns of `agent.started`; `node` is where its calls are reserved."""
    granted = effective(plan.chain)
    fields: dict[str, Any] = {
        "op": "invoke_agent",
        "model": plan.model,
        "policy_sha256": grants_sha256(plan.chain),
        "attrs": {
            "tools": list(plan.tools),
            "absent": dict(plan.absent),
            "scope": list(plan.task.scope),
            "fs_read": list(granted.fs_read),
            "fs_write": list(granted.fs_write),
            "isolation": plan.isolation,
        },
    }
    if node is not None:
        fields |= {"budget_id": node.node_id, "budget_unit": "tokens"}
        if plan.limits.tokens is not None:
            fields["budget_limit"] = plan.limits.tokens
        fields["attrs"]["limits"] = counted_limits(plan.limits)
    return fields


def counted_limits(limits: Limits) -> dict[str, int]:
    """The limits that are summed up, by their units; only those that there are."""
    return {unit: limit for unit in UNITS if (limit := getattr(limits, unit)) is not None}


def _recorded(artifacts: Sequence[Artifact]) -> list[dict[str, Any]]:
    """As many as fit into one line of the record."""
    recorded: list[dict[str, Any]] = []
    room = ARTIFACT_BYTES
    for artifact in artifacts:
        room -= len(artifact.path.encode("utf-8", "surrogatepass")) + ARTIFACT_OVERHEAD
        if room < 0:
            break
        recorded.append({"path": artifact.path, "sha256": artifact.sha256, "bytes": artifact.bytes})
    return recorded


def _named(files: Sequence[ChangedFile]) -> list[str]:
    """The paths of as many files as fit into one line of the record."""
    named: list[str] = []
    room = CHANGED_BYTES
    for file in files:
        room -= len(json.dumps(file.path)) + 2
        if room < 0:
            break
        named.append(file.path)
    return named


def end_fields(report: AgentReport) -> dict[str, Any]:
    """The columns of `agent.ended`."""
    usage = report.usage
    fields: dict[str, Any] = {
        "op": "invoke_agent",
        "status": report.status,
        "duration_ns": int(report.duration_s * 1e9),
        "attrs": {
            "outcome": report.outcome.value,
            "steps": report.steps,
            "tokens": usage.tokens + report.doubtful_tokens,
            "requests": usage.requests,
            "criteria": [criterion.verdict for criterion in report.criteria],
            "artifacts": _recorded(report.artifacts),
            "artifact_count": len(report.artifacts),
            "missing": list(report.missing),
        },
    }
    if report.changes is not None:
        fields["attrs"]["changes"] = {
            "branch": report.changes.branch,
            "commit": report.changes.commit,
            "files": _named(report.changes.files),
        }
        fields["attrs"]["changed_count"] = len(report.changes.files)
    if report.status != "ok":
        fields["error_type"] = report.outcome.value
    return fields

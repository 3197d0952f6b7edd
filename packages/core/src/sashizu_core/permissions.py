"""The engine that judges what is asked by what is granted.

`deny > ask > allow > default deny`, over the whole chain of ancestors: a request is allowed only if
every ceiling and the agent's own grants allow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from sashizu_core.grants import (
    Grants,
    NetRequest,
    PathRequest,
    PermissionRequest,
    SpawnRequest,
    Subject,
    ToolRequest,
)
from sashizu_core.types import Decision

__all__ = ["authorize", "combined"]


def _covers(granted: str, path: str) -> bool:
    grant = PurePosixPath(granted)
    return granted == "." or PurePosixPath(path) == grant or grant in PurePosixPath(path).parents


def _judge_path(request: PathRequest, grants: Grants) -> str | None:
    paths = grants.fs_read if request.access == "read" else grants.fs_write
    for granted in paths:
        if _covers(granted, request.path):
            return f"fs.{request.access}: {granted}"
    return None


def _rule_for(request: PermissionRequest, grants: Grants) -> str | None:
    """The grant that allows a request, as text, or None."""
    match request:
        case PathRequest():
            return _judge_path(request, grants)
        case ToolRequest(tool):
            if grants.tools is None:
                return "tools: *"
            return f"tools: {tool}" if tool in grants.tools else None
        case SpawnRequest(agent):
            return f"spawn: {agent}" if agent in grants.spawn or "*" in grants.spawn else None
        case NetRequest():
            return None


def _text(request: PermissionRequest) -> str:
    match request:
        case PathRequest(path, access):
            return f"{access} {path}"
        case ToolRequest(tool):
            return f"call the tool {tool}"
        case SpawnRequest(agent):
            return f"start the agent {agent}"
        case NetRequest(scheme, host, port, path):
            return f"connect to {scheme}://{host}:{port}{path}"


def authorize(requests: Iterable[PermissionRequest], subject: Subject) -> Decision:
    """Judge everything one tool call would touch; the first refusal decides."""
    rules: list[str] = []
    for request in requests:
        for grants in reversed(subject.chain):
            rule = _rule_for(request, grants)
            if rule is None:
                where = f" ({grants.source})" if grants.source else ""
                return Decision(
                    "deny",
                    f"{subject.agent_name} may not {_text(request)}: no grant allows it{where}",
                    decided_by="default",
                )
        rules.append(rule if (rule := _rule_for(request, subject.chain[-1])) else "")
    return Decision("allow", "allowed by the agent's grants", "; ".join(rules), "rule")


def combined(decisions: Sequence[Decision]) -> Decision:
    """Deny outranks ask, ask outranks allow; among equals the first."""
    for verdict in ("deny", "ask", "allow"):
        for decision in decisions:
            if decision.verdict == verdict:
                return decision
    return Decision("deny", "nobody allowed it")

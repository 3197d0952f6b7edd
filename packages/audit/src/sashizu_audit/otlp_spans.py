"""Spans of runs, agents and calls: the JSON form of OTLP, names of the GenAI conventions.

Sources: the JSON mapping of OTLP 1.x (ids in hexadecimal, whole numbers of 64 bits as text,
enumerations as numbers) of opentelemetry.io; the attributes `gen_ai.*` of
open-telemetry/semantic-conventions-genai, which are all in development. Decisions, budgets and
costs have no name there, so they have names of ours: `sashizu.*`. Usage is on calls of models only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any

__all__ = [
    "Row",
    "Span",
    "above_span_id",
    "agent_span",
    "agent_span_id",
    "call_span",
    "run_span",
    "run_span_id",
    "traces_data",
]

_INTERNAL, _CLIENT = 1, 3
_UNSET, _OK, _ERROR = 0, 1, 2

_ALL = {
    "agent_name": "gen_ai.agent.name",
    "error_type": "error.type",
    "declared_by": "sashizu.declared_by",
}
_OF_MODEL = {
    "provider": "gen_ai.provider.name",
    "model": "gen_ai.request.model",
    "model_used": "gen_ai.response.model",
    "response_id": "gen_ai.response.id",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cache_write_tokens": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
    "cost_nusd": "sashizu.cost_nusd",
}
_OF_TOOL = {
    "tool": "gen_ai.tool.name",
    "tool_type": "gen_ai.tool.type",
    "tool_call_id": "gen_ai.tool.call.id",
    "mcp_server": "sashizu.mcp_server",
    "decision": "sashizu.decision",
    "decided_by": "sashizu.decided_by",
    "decision_rule": "sashizu.decision_rule",
}
_OF_AGENT = {
    "agent_id": "gen_ai.agent.id",
    "model": "gen_ai.request.model",
    "conversation_id": "gen_ai.conversation.id",
    "depth": "sashizu.depth",
    "budget_limit": "sashizu.budget_limit",
    "policy_sha256": "sashizu.policy_sha256",
}

Row = Mapping[str, Any]
"""Columns of the event that began, `begun` (UTC nanoseconds), and those of the one that ended."""

Span = dict[str, Any]


def traces_data(
    run: Row, spans: Sequence[Span], more: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """A `TracesData` of spans of one run; `more` are further attributes of the resource."""
    trace = _valid(run.get("trace_id"), 32) or _derived(32, "trace", run["run_id"])
    for span in spans:
        span["traceId"] = trace
    resource = {"service.name": "sashizu", "service.namespace": run.get("project"), **more}
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _attributes(resource)},
                "scopeSpans": [{"scope": {"name": "sashizu_audit"}, "spans": list(spans)}],
            }
        ]
    }


# --- spans ----------------------------------------------------------------------------------------


def run_span(run: Row) -> Span:
    """The span of a run, without its trace."""
    told = {
        "gen_ai.operation.name": "invoke_workflow",
        "sashizu.run_id": run["run_id"],
        "sashizu.status": run["status"],
        "sashizu.actor": run.get("actor"),
        "sashizu.declared_by": run.get("declared_by"),
    }
    # A run in the trace of a caller: its parent is a span that we do not have.
    return _span("invoke_workflow", run_span_id(run), above_span_id(run), _INTERNAL, run, told)


def agent_span(row: Row, above: str) -> Span:
    """The span of an agent instance, beneath the span `above`."""
    told = {
        "gen_ai.operation.name": "invoke_agent",
        "sashizu.status": row["status"],
        **_named(row, _ALL | _OF_AGENT),
    }
    name = f"invoke_agent {row.get('agent_name') or ''}".rstrip()
    return _span(name, agent_span_id(row), above, _INTERNAL, row, told)


def call_span(
    row: Row, above: str, number: int, content: Mapping[str, str] = MappingProxyType({})
) -> Span:
    """The span of a call of a model or a tool, beneath the span `above`.

    `number` counts the calls of one agent under one step, of which attempts make several; `content`
    are attributes with texts.
    """
    of_model = row["kind"] == "model.requested"
    operation, what = ("chat", row.get("model")) if of_model else ("execute_tool", row.get("tool"))
    told = {
        "gen_ai.operation.name": operation,
        "sashizu.status": row["status"],
        "sashizu.step": row.get("step"),
        **_named(row, _ALL | (_OF_MODEL if of_model else _OF_TOOL)),
        **content,
    }
    if of_model and row.get("finish_reason"):
        told["gen_ai.response.finish_reasons"] = [row["finish_reason"]]
    span_id = _derived(16, row["kind"], row["agent_id"], row.get("step"), number)
    kind = _CLIENT if of_model else _INTERNAL
    return _span(f"{operation} {what or ''}".rstrip(), span_id, above, kind, row, told)


def _span(
    name: str, span_id: str, above: str | None, kind: int, row: Row, told: Mapping[str, Any]
) -> Span:
    begun = int(row["begun"])
    span: Span = {"traceId": "", "spanId": span_id}
    if above is not None:
        span["parentSpanId"] = above
    return span | {
        "name": _text(name),
        "kind": kind,
        "startTimeUnixNano": str(begun),
        "endTimeUnixNano": str(begun + max(0, int(row.get("duration_ns") or 0))),
        "attributes": _attributes(told),
        "status": _status(row["status"]),
    }


def _status(status: str) -> dict[str, Any]:
    if status == "ok":
        return {"code": _OK}
    if status in ("unfinished", "no result", "declared"):
        return {"code": _UNSET}
    return {"code": _ERROR, "message": status}


# --- ids and values -------------------------------------------------------------------------------


def above_span_id(row: Row) -> str | None:
    """The id of the span that a row says it is beneath, where it is one."""
    return _valid(row.get("parent_span_id"), 16)


def run_span_id(run: Row) -> str:
    """The id of a run's span: the one on record, where it is one."""
    return _valid(run.get("span_id"), 16) or _derived(16, "run", run["run_id"])


def agent_span_id(row: Row) -> str:
    """The id of an agent's span: the one on record, which other processes know it by."""
    return _valid(row.get("span_id"), 16) or _derived(16, "agent", row["agent_id"])


def _derived(digits: int, *parts: object) -> str:
    """The same id each time, so that a run which is exported twice is one trace."""
    return sha256("\0".join(map(str, parts)).encode()).hexdigest()[:digits]


def _valid(found: str | None, digits: int) -> str | None:
    """An id as W3C Trace Context has it, or None: what is on record came from a caller."""
    good = found is not None and re.fullmatch(f"[0-9a-f]{{{digits}}}", found)
    return found if good and found and found.strip("0") else None


def _named(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    return {name: row.get(column) for column, name in names.items()}


def _attributes(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": _value(value)} for key, value in told.items() if value is not None
    ]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(one) for one in value]}}
    return {"stringValue": _text(str(value))}


def _text(found: str) -> str:
    """A text that JSON can hold: what is no Unicode in it is told by its number."""
    return found.encode("utf-8", "backslashreplace").decode()

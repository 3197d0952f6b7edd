"""Writes runs as OpenTelemetry traces: the JSON form of OTLP, names of the GenAI conventions.

Sources: the JSON mapping of OTLP 1.x (ids in hexadecimal, whole numbers of 64 bits as text,
enumerations as numbers) and the file exporter (one `TracesData` a line) of opentelemetry.io; the
attributes `gen_ai.*` of open-telemetry/semantic-conventions-genai, which are all in development.
Decisions, budgets and costs have no name there, so they have names of ours: `sashizu.*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["write_otlp"]

_INTERNAL, _CLIENT = 1, 3
_UNSET, _OK, _ERROR = 0, 1, 2
_BATCH = 1000

# What began and never ended gets the length 0: nobody knows how long it took.
# What was imported is told at the time that its program declares.
_BEGUN = "coalesce(CAST(json_extract_string(s.attrs, '$.declared_ns') AS BIGINT), s.ts_ns)"
_RUNS = f"""
SELECT CAST(s.run_id AS VARCHAR) AS run_id, {_BEGUN} AS begun, e.duration_ns,
       coalesce(e.status, 'unfinished') AS status, s.trace_id, s.span_id, s.parent_span_id,
       s.project, s.actor, json_extract_string(s.attrs, '$.declared_by') AS declared_by
FROM events s LEFT JOIN events e ON e.run_id = s.run_id AND e.kind = 'run.ended'
WHERE s.kind = 'run.started' ORDER BY s.ts_ns, s.run_id
"""  # noqa: S608 - our own words
_AGENTS = f"""
SELECT CAST(s.agent_id AS VARCHAR) AS agent_id, CAST(s.parent_agent_id AS VARCHAR) AS parent,
       {_BEGUN} AS begun, e.duration_ns, coalesce(e.status, 'unfinished') AS status, e.error_type,
       s.agent_name, s.model, s.conversation_id, s.depth, s.budget_limit, s.policy_sha256,
       json_extract_string(s.attrs, '$.declared_by') AS declared_by
FROM events s LEFT JOIN events e ON e.agent_id = s.agent_id AND e.kind = 'agent.ended'
WHERE s.kind = 'agent.started' AND s.run_id = $run ORDER BY s.ts_ns, s.agent_id
"""  # noqa: S608 - our own words
_CALLS = f"""
SELECT CAST(s.agent_id AS VARCHAR) AS agent_id, s.kind, s.step, {_BEGUN} AS begun, e.duration_ns,
       coalesce(e.status, CASE d.decision WHEN 'deny' THEN 'denied' ELSE 'no result' END) AS status,
       e.error_type, s.agent_name, s.provider, coalesce(s.model, e.model) AS model, e.model_used,
       e.response_id, e.finish_reason, e.input_tokens, e.output_tokens, e.cache_read_tokens,
       e.cache_write_tokens, e.reasoning_tokens, e.cost_nusd, s.tool, s.tool_type, s.tool_call_id,
       s.mcp_server, d.decision, d.decided_by, d.decision_rule,
       json_extract_string(s.attrs, '$.declared_by') AS declared_by
FROM events s
LEFT JOIN events e ON e.agent_id = s.agent_id AND e.step = s.step
  AND e.kind IN ('model.answered', 'model.failed', 'tool.ended')
  AND split_part(e.kind, '.', 1) = split_part(s.kind, '.', 1)
LEFT JOIN events d ON d.agent_id = s.agent_id AND d.step = s.step AND d.kind = 'tool.decided'
WHERE s.kind IN ('model.requested', 'tool.requested') AND s.run_id = $run
QUALIFY row_number() OVER (PARTITION BY s.event_id ORDER BY e.seq DESC, d.seq) = 1
ORDER BY s.ts_ns, s.agent_id, s.step
"""  # noqa: S608 - our own words

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
Span = dict[str, Any]


def write_otlp(connection: DuckDBPyConnection, folder: Path) -> None:
    """Write `traces.jsonl`: one line, one `TracesData`, one trace for each run."""
    with (folder / "traces.jsonl").open("xb") as file:
        for run in list(_rows(connection, _RUNS, {})):
            _write_run(connection, run, file)


def _write_run(connection: DuckDBPyConnection, run: Row, file: BinaryIO) -> None:
    trace = _valid(run["trace_id"], 32) or _derived(32, "trace", run["run_id"])
    root = _run_span(run)
    spans = [root]
    agents = {row["agent_id"]: row for row in _rows(connection, _AGENTS, {"run": run["run_id"]})}
    for row in agents.values():
        above = row["parent"]
        known = above in agents and above != row["agent_id"]
        spans.append(_agent_span(row, _agent_id(above) if known else root["spanId"]))
    for row in _rows(connection, _CALLS, {"run": run["run_id"]}):
        known = row["agent_id"] in agents
        spans.append(_call_span(row, _agent_id(row["agent_id"]) if known else root["spanId"]))
    for span in spans:
        span["traceId"] = trace
    resource = _attributes({"service.name": "sashizu", "service.namespace": run["project"]})
    data = {
        "resourceSpans": [
            {
                "resource": {"attributes": resource},
                "scopeSpans": [{"scope": {"name": "sashizu_audit"}, "spans": spans}],
            }
        ]
    }
    file.write(orjson.dumps(data) + b"\n")


# --- spans ----------------------------------------------------------------------------------------


def _run_span(run: Row) -> Span:
    told = {
        "gen_ai.operation.name": "invoke_workflow",
        "sashizu.run_id": run["run_id"],
        "sashizu.status": run["status"],
        "sashizu.actor": run["actor"],
        "sashizu.declared_by": run["declared_by"],
    }
    # A run in the trace of a caller: its parent is a span that we do not have.
    above = _valid(run["parent_span_id"], 16)
    span_id = _valid(run["span_id"], 16) or _derived(16, "run", run["run_id"])
    return _span("invoke_workflow", span_id, above, _INTERNAL, run, told)


def _agent_span(row: Row, above: str) -> Span:
    told = {
        "gen_ai.operation.name": "invoke_agent",
        "sashizu.status": row["status"],
        **_named(row, _ALL | _OF_AGENT),
    }
    name = f"invoke_agent {row['agent_name'] or ''}".rstrip()
    return _span(name, _agent_id(row["agent_id"]), above, _INTERNAL, row, told)


def _call_span(row: Row, above: str) -> Span:
    of_model = row["kind"] == "model.requested"
    operation, what = ("chat", row["model"]) if of_model else ("execute_tool", row["tool"])
    told = {
        "gen_ai.operation.name": operation,
        "sashizu.status": row["status"],
        "sashizu.step": row["step"],
        **_named(row, _ALL | (_OF_MODEL if of_model else _OF_TOOL)),
    }
    if of_model and row["finish_reason"]:
        told["gen_ai.response.finish_reasons"] = [row["finish_reason"]]
    span_id = _derived(16, row["kind"], row["agent_id"], row["step"], row["begun"])
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
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(begun),
        "endTimeUnixNano": str(begun + max(0, int(row["duration_ns"] or 0))),
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


def _agent_id(agent_id: str) -> str:
    return _derived(16, "agent", agent_id)


def _derived(digits: int, *parts: object) -> str:
    """The same id each time, so that a run which is exported twice is one trace."""
    return sha256("\0".join(map(str, parts)).encode()).hexdigest()[:digits]


def _valid(found: str | None, digits: int) -> str | None:
    """An id as W3C Trace Context has it, or None: what is on record came from a caller."""
    good = found is not None and re.fullmatch(f"[0-9a-f]{{{digits}}}", found)
    return found if good and found and found.strip("0") else None


def _named(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    return {name: row[column] for column, name in names.items()}


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
    return {"stringValue": str(value)}


def _rows(connection: DuckDBPyConnection, sql: str, params: Mapping[str, str]) -> Iterator[Row]:
    result = connection.execute(sql, dict(params))
    names = [str(column[0]) for column in result.description]
    while rows := result.fetchmany(_BATCH):
        for row in rows:
            yield dict(zip(names, row, strict=True))

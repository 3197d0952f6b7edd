"""Writes runs as OpenTelemetry traces, as the file exporter does: one `TracesData` a line.

How a span looks, `sashizu_audit.otlp_spans` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import orjson

from sashizu_audit.otlp_spans import (
    Row,
    agent_span,
    agent_span_id,
    call_span,
    run_span,
    traces_data,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["write_otlp"]

_BATCH = 1000

# What only repeats another run was told with that one, and is not told again.
# What began and never ended gets the length 0: nobody knows how long it took.
# What was imported is told at the time that its program declares.
_BEGUN = "coalesce(CAST(json_extract_string(s.attrs, '$.declared_ns') AS BIGINT), s.ts_ns)"
_RUNS = f"""
SELECT CAST(s.run_id AS VARCHAR) AS run_id, {_BEGUN} AS begun, e.duration_ns,
       coalesce(e.status, 'unfinished') AS status, s.trace_id, s.span_id, s.parent_span_id,
       s.project, s.actor, json_extract_string(s.attrs, '$.declared_by') AS declared_by
FROM events s LEFT JOIN events e ON e.run_id = s.run_id AND e.kind = 'run.ended'
WHERE s.kind = 'run.started' AND s.replay_of IS NULL ORDER BY s.ts_ns, s.run_id
"""  # noqa: S608 - our own words
_AGENTS = f"""
SELECT CAST(s.agent_id AS VARCHAR) AS agent_id, CAST(s.parent_agent_id AS VARCHAR) AS parent,
       {_BEGUN} AS begun, e.duration_ns, coalesce(e.status, 'unfinished') AS status, e.error_type,
       s.agent_name, s.model, s.conversation_id, s.depth, s.span_id, s.budget_limit,
       s.policy_sha256,
       json_extract_string(s.attrs, '$.declared_by') AS declared_by
FROM events s LEFT JOIN events e ON e.agent_id = s.agent_id AND e.kind = 'agent.ended'
WHERE s.kind = 'agent.started' AND s.run_id = $run AND e.replay_of IS NULL
ORDER BY s.ts_ns, s.agent_id
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
WHERE s.kind IN ('model.requested', 'tool.requested') AND s.run_id = $run AND s.replay_of IS NULL
QUALIFY row_number() OVER (PARTITION BY s.event_id ORDER BY e.seq DESC, d.seq) = 1
ORDER BY s.ts_ns, s.agent_id, s.step
"""  # noqa: S608 - our own words


def write_otlp(connection: DuckDBPyConnection, folder: Path) -> None:
    """Write `traces.jsonl`: one line, one `TracesData`, one trace for each run."""
    with (folder / "traces.jsonl").open("xb") as file:
        for run in list(_rows(connection, _RUNS, {})):
            _write_run(connection, run, file)


def _write_run(connection: DuckDBPyConnection, run: Row, file: BinaryIO) -> None:
    root = run_span(run)
    spans = [root]
    agents = {row["agent_id"]: row for row in _rows(connection, _AGENTS, {"run": run["run_id"]})}
    for row in agents.values():
        above = row["parent"]
        known = above in agents and above != row["agent_id"]
        spans.append(agent_span(row, agent_span_id(agents[above]) if known else root["spanId"]))
    calls: Counter[tuple[object, ...]] = Counter()
    for row in _rows(connection, _CALLS, {"run": run["run_id"]}):
        agent = agents.get(row["agent_id"])
        above = agent_span_id(agent) if agent is not None else root["spanId"]
        key = row["kind"], row["agent_id"], row["step"]
        spans.append(call_span(row, above, calls[key]))
        calls[key] += 1
    file.write(orjson.dumps(traces_data(run, spans)) + b"\n")


def _rows(connection: DuckDBPyConnection, sql: str, params: Mapping[str, str]) -> Iterator[Row]:
    result = connection.execute(sql, dict(params))
    names = [str(column[0]) for column in result.description]
    while rows := result.fetchmany(_BATCH):
        for row in rows:
            yield dict(zip(names, row, strict=True))

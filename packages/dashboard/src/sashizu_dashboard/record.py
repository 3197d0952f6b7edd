"""Asks the record what a page shows, in SQL over its views."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sashizu_core.errors import UsageError
from sashizu_core.specs import RecordRows

from sashizu_dashboard.shown import Artifact, Call, Proof, Refusal, Run, Shown
from sashizu_dashboard.tree import agents_of

__all__ = ["MOST_CALLS", "MOST_ROWS", "Query", "find_run", "read_run"]

Query = Callable[[str, int, float], RecordRows]
"""`SinkSpec.query`: SQL, the most rows, the most seconds."""

MOST_CALLS = 2_000
"""The most calls of a page: more would be neither legible nor quick to show."""

MOST_ROWS = 5_000
"""The most rows of every other table."""

QUERY_S = 60.0
_ID = re.compile(r"[0-9a-f-]{1,36}")

_BEGUN = """
SELECT DISTINCT CAST(run_id AS VARCHAR) FROM runs
WHERE starts_with(CAST(run_id AS VARCHAR), '{begun}') ORDER BY 1
"""
_RUN = """
SELECT s.project, s.actor, s.ts_ns, e.ts_ns, coalesce(e.status, 'unfinished'),
       json_extract(s.attrs, '$.limits'), e.budget_spent,
       CAST(json_extract_string(e.attrs, '$.nusd') AS BIGINT),
       CAST(json_extract_string(e.attrs, '$.requests') AS BIGINT)
FROM events s LEFT JOIN events e ON e.run_id = s.run_id AND e.kind = 'run.ended'
WHERE s.kind = 'run.started' AND CAST(s.run_id AS VARCHAR) = '{run}'
"""
_AGENTS = """
SELECT s.agent_id, s.parent_agent_id, s.agent_name, s.model, coalesce(e.status, 'unfinished'),
       e.error_type, s.ts_ns, e.ts_ns, json_extract(s.attrs, '$.limits'),
       u.tokens, u.nusd, m.requests
FROM events s
LEFT JOIN events e ON e.agent_id = s.agent_id AND e.kind = 'agent.ended'
LEFT JOIN (
  SELECT agent_id, sum(tokens) AS tokens, CAST(round(sum(cost_usd) * 1e9) AS BIGINT) AS nusd
  FROM token_usage WHERE CAST(run_id AS VARCHAR) = '{run}' GROUP BY agent_id
) u ON u.agent_id = s.agent_id
LEFT JOIN (
  SELECT agent_id, count(*) AS requests FROM events
  WHERE kind = 'model.requested' AND CAST(run_id AS VARCHAR) = '{run}' GROUP BY agent_id
) m ON m.agent_id = s.agent_id
WHERE s.kind = 'agent.started' AND CAST(s.run_id AS VARCHAR) = '{run}'
ORDER BY s.ts_ns, s.agent_id
"""
_CALLS = """
SELECT s.agent_id, s.agent_name, CASE s.kind WHEN 'model.requested' THEN 'model' ELSE 'tool' END,
       coalesce(s.tool, s.model), s.step, s.ts_ns, e.duration_ns,
       coalesce(e.status, 'no result'), e.tokens
FROM events s
LEFT JOIN events e ON e.agent_id = s.agent_id AND e.step = s.step
                  AND e.kind IN ('model.answered', 'model.failed', 'tool.ended')
WHERE s.kind IN ('model.requested', 'tool.requested') AND CAST(s.run_id AS VARCHAR) = '{run}'
ORDER BY s.ts_ns, s.agent_id, s.step
"""
_REFUSALS = """
SELECT ts_ns, agent_name, kind, coalesce(tool, category, budget_unit),
       coalesce(decision, status), decided_by,
       concat_ws('; ', nullif(decision_reason, ''), nullif(decision_rule, ''),
                 json_extract_string(attrs, '$.request'), json_extract_string(attrs, '$.reason'),
                 CASE WHEN kind = 'budget.refused' THEN concat('asked for ', budget_held, ' ',
                   budget_unit, ', left ', json_extract_string(attrs, '$.left')) END)
FROM events
WHERE CAST(run_id AS VARCHAR) = '{run}' AND (
  kind IN ('security.denied', 'security.suspicious', 'budget.refused', 'budget.overrun')
  OR kind = 'tool.decided' AND (decision <> 'allow' OR decided_by = 'user'))
ORDER BY ts_ns
"""
_ARTIFACTS = """
SELECT agent_name, path, sha256, bytes FROM artifacts
WHERE CAST(run_id AS VARCHAR) = '{run}' ORDER BY ts, path
"""
_GAPS = """
SELECT count(*), sum(missing) FROM seq_gaps WHERE writer_id IN (
  SELECT writer_id FROM events WHERE CAST(run_id AS VARCHAR) = '{run}')
"""
_CHECKPOINTS = """
SELECT count(*) FROM checkpoints WHERE ts >= (
  SELECT max(ts) FROM events WHERE CAST(run_id AS VARCHAR) = '{run}')
"""


def find_run(query: Query, wanted: str) -> str:
    """The id of the run that is meant by `last`, by an id or by the beginning of one. Blocks.

    Raises:
        UsageError: there is no such run, or more than one.
    """
    if wanted == "last":
        newest = query("SELECT CAST(max(run_id) AS VARCHAR) FROM runs", 1, QUERY_S).rows
        if newest and newest[0][0]:
            return str(newest[0][0])
        raise UsageError("there is no run on record; `sashizu audit stats` tells what there is")
    begun = wanted.lower()
    if _ID.fullmatch(begun):  # nothing else may enter a query
        found = [str(row[0]) for row in query(_BEGUN.format(begun=begun), 6, QUERY_S).rows]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{wanted!r} names several runs: {', '.join(found)}")
    raise UsageError(f"there is no run {wanted!r} on record; `sashizu audit runs` lists them")


def read_run(query: Query, run_id: str) -> Shown:
    """What a page shows of a run, by its whole id, as `find_run` gives it. Blocks.

    Raises:
        UsageError: a query took too long, or nothing is on record of the run's begin.
    """
    cut: list[str] = []

    def ask(sql: str, what: str, limit: int = MOST_ROWS) -> tuple[tuple[Any, ...], ...]:
        found = query(sql.format(run=run_id), limit, QUERY_S)
        if found.truncated:
            cut.append(what)
        return found.rows

    known = ask(_RUN, "run")
    if not known:
        raise UsageError(f"there is no run {run_id!r} on record")
    run = _run(run_id, known[0])
    agents = agents_of(ask(_AGENTS, "agents"), limits_of)
    if run.ended_ns is None:
        run = _so_far(run, agents)
    calls = tuple(_call(row) for row in ask(_CALLS, "calls", MOST_CALLS))
    refusals = tuple(_refusal(row) for row in ask(_REFUSALS, "refusals"))
    artifacts = tuple(
        Artifact(_text(row[0]), _text(row[1]), _text(row[2]), _number(row[3]))
        for row in ask(_ARTIFACTS, "artifacts")
    )
    gaps = ask(_GAPS, "writers")[0]
    after = ask(_CHECKPOINTS, "checkpoints")[0]
    proof = Proof(_number(gaps[0]), _number(gaps[1]), _number(after[0]))
    return Shown(run, agents, calls, refusals, artifacts, proof, tuple(cut))


def limits_of(found: object) -> Mapping[str, int]:
    """The counted limits of a `limits` member of `attrs` in JSON; what is no number is left out."""
    try:
        known = json.loads(found) if isinstance(found, str) else found
    except ValueError:
        return {}
    if not isinstance(known, Mapping):
        return {}
    return {
        str(unit): limit
        for unit, limit in known.items()
        if isinstance(limit, int) and not isinstance(limit, bool)
    }


def _run(run_id: str, row: tuple[Any, ...]) -> Run:
    project, actor, started, ended, status, limits, tokens, nusd, requests = row
    return Run(
        run_id,
        _text(project),
        _text(actor),
        _text(status),
        _number(started),
        None if ended is None else _number(ended),
        limits_of(limits),
        _number(tokens),
        _number(nusd),
        _number(requests),
    )


def _so_far(run: Run, agents: tuple[Any, ...]) -> Run:
    return replace(
        run,
        tokens=sum(agent.tokens for agent in agents),
        nusd=sum(agent.nusd for agent in agents),
        requests=sum(agent.requests for agent in agents),
    )


def _call(row: tuple[Any, ...]) -> Call:
    agent_id, agent, kind, name, step, started, duration, status, tokens = row
    return Call(
        _text(agent_id),
        _text(agent),
        _text(kind),
        _text(name),
        _number(step),
        _number(started),
        None if duration is None else _number(duration),
        _text(status),
        _number(tokens),
    )


def _refusal(row: tuple[Any, ...]) -> Refusal:
    at, agent, kind, what, verdict, by, why = row
    return Refusal(
        _number(at), _text(agent), _text(kind), _text(what), _text(verdict), _text(by), _text(why)
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: Any) -> int:
    return 0 if value is None else int(value)

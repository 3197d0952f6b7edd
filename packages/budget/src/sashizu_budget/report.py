"""What a run spent, as the record has it: by agent, by model, and as others declared it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sashizu_core.errors import MissingPackage, UsageError
from sashizu_core.specs import RecordRows

if TYPE_CHECKING:
    from sashizu_core.plugins import Registry

__all__ = ["AgentSpend", "Declared", "ModelSpend", "RunSpend", "read_report", "record_query"]

Query = Callable[[str, int, float], RecordRows]

ASKED_S = 60.0
"""How long one question to the record may take, in seconds."""

MOST = 100_000
"""Rows of an answer that are read."""

_ID = re.compile(r"[0-9a-f][0-9a-f-]{0,35}")


@dataclass(slots=True)
class AgentSpend:
    """One agent. What it `spent` and `held` is its own, `total` includes what it started.

    Limits are by unit (`tokens`, `nusd`, `requests`, `agents`). `held` is what is reserved for
    calls that have not come back; of an agent that has ended there is none: it was charged.
    """

    agent_id: str
    parent: str | None
    name: str
    model: str
    status: str
    limits: Mapping[str, int]
    tokens: int = 0
    nusd: int = 0
    requests: int = 0
    held_tokens: int = 0
    held_nusd: int = 0
    doubtful_tokens: int = 0
    refused: int = 0
    overruns: int = 0
    children: list[AgentSpend] = field(default_factory=list)

    @property
    def total(self) -> tuple[int, int, int]:
        """Tokens, 10⁻⁹ USD and requests, of the agent and of all below it."""
        below = [child.total for child in self.children]
        own = (self.tokens, self.nusd, self.requests)
        tokens, nusd, requests = (sum(each) for each in zip(own, *below, strict=True))
        return tokens, nusd, requests


@dataclass(frozen=True, slots=True)
class ModelSpend:
    """One model at one price; `price` says where the price came from, empty where nobody said."""

    model: str
    price: str
    calls: int
    input_tokens: int
    output_tokens: int
    doubtful_tokens: int
    nusd: int


@dataclass(frozen=True, slots=True)
class Declared:
    """What a program said it used, beside what went through the gateway, in tokens.

    `declared` is None where it said nothing.
    """

    agent_id: str
    name: str
    declared: int | None
    seen: int
    doubtful: int


@dataclass(frozen=True, slots=True)
class RunSpend:
    """A run: agents that were not started by others, each with those below it."""

    run_id: str
    status: str
    limits: Mapping[str, int]
    agents: Sequence[AgentSpend]
    models: Sequence[ModelSpend]
    declared: Sequence[Declared]

    @property
    def total(self) -> tuple[int, int, int]:
        """Tokens, 10⁻⁹ USD and requests of all agents."""
        totals = [agent.total for agent in self.agents]
        tokens, nusd, requests = (sum(each[i] for each in totals) for i in range(3))
        return tokens, nusd, requests

    @property
    def held(self) -> tuple[int, int]:
        """Tokens and 10⁻⁹ USD that are held now."""
        found = list(_flat(self.agents))
        return sum(each.held_tokens for each in found), sum(each.held_nusd for each in found)


def record_query(registry: Registry) -> Query:
    """How the record is asked.

    Raises:
        MissingPackage: nobody keeps one that can be asked.
    """
    for spec in registry.sinks.values():
        if spec.query is not None:
            return spec.query
    raise MissingPackage("a report of a run", "sashizu-audit")


def read_report(query: Query, wanted: str) -> RunSpend:
    """Read what a run spent. `wanted` is its id, the beginning of it, or `last`. Blocks.

    Raises:
        UsageError: there is no such run on record, or several begin like that.
        RecordError: that the record was asked cannot be recorded.
    """
    run_id = _found(query, wanted)
    told = _rows(query, _TOLD, run_id)
    agents = {row["agent_id"]: _agent(row) for row in told if row["kind"] == "agent.started"}
    limits: Mapping[str, int] = {}
    status = "unfinished"
    for row in told:
        if row["kind"] == "run.started":
            limits = _limits(row)
        elif row["kind"] == "run.ended":
            status = str(row["status"])
        elif row["kind"] == "agent.ended" and row["agent_id"] in agents:
            agents[row["agent_id"]].status = str(row["status"])
    for row in _rows(query, _BOOKED, run_id):
        if row["agent_id"] in agents:
            _book(agents[row["agent_id"]], row)
    return RunSpend(
        run_id,
        status,
        limits,
        _tree(agents),
        [_model(row) for row in _rows(query, _MODELS, run_id)],
        [_declared(row) for row in _rows(query, _DECLARED, run_id)],
    )


_STARTED = "SELECT CAST(run_id AS VARCHAR) AS run_id FROM events WHERE kind = 'run.started'"

_TOLD = """
SELECT kind, agent_id, parent_agent_id, agent_name, model, status, budget_limit, attrs
FROM events WHERE run_id = '{run}'
AND kind IN ('run.started', 'run.ended', 'agent.started', 'agent.ended') ORDER BY ts_ns, seq
"""

_BOOKED = """
WITH step AS (
  SELECT agent_id, step,
    max(budget_held) FILTER (WHERE kind = 'budget.held') AS held,
    max(CAST(attrs->>'nusd' AS BIGINT)) FILTER (WHERE kind = 'budget.held') AS held_nusd,
    sum(budget_spent) FILTER (WHERE kind = 'budget.settled') AS tokens,
    sum(CAST(attrs->>'nusd' AS BIGINT)) FILTER (WHERE kind = 'budget.settled') AS nusd,
    count(*) FILTER (WHERE kind = 'budget.settled') AS settled,
    count(*) FILTER (WHERE kind = 'budget.released') AS released,
    count(*) FILTER (WHERE kind = 'budget.refused') AS refused,
    count(*) FILTER (WHERE kind = 'budget.overrun') AS overruns,
    coalesce(sum(budget_spent) FILTER (WHERE kind = 'budget.settled'
      AND (attrs->>'in_doubt') = 'true'), 0) AS doubtful
  FROM events WHERE run_id = '{run}' AND starts_with(kind, 'budget.') GROUP BY ALL
)
SELECT agent_id, coalesce(sum(tokens), 0) AS tokens, coalesce(sum(nusd), 0) AS nusd,
  sum(settled) AS requests, sum(doubtful) AS doubtful, sum(refused) AS refused,
  sum(overruns) AS overruns,
  coalesce(sum(held) FILTER (WHERE settled + released = 0), 0) AS held,
  coalesce(sum(held_nusd) FILTER (WHERE settled + released = 0), 0) AS held_nusd
FROM step GROUP BY agent_id
"""

_MODELS = """
WITH call AS (
  SELECT r.model, e.price_ref, e.input_tokens, e.output_tokens,
    s.budget_spent AS tokens, CAST(s.attrs->>'nusd' AS BIGINT) AS nusd,
    coalesce((s.attrs->>'in_doubt') = 'true', FALSE) AS in_doubt
  FROM events r
  LEFT JOIN events e ON e.run_id = r.run_id AND e.agent_id = r.agent_id AND e.step = r.step
    AND e.kind IN ('model.answered', 'model.failed')
  LEFT JOIN events s ON s.run_id = r.run_id AND s.agent_id = r.agent_id AND s.step = r.step
    AND s.kind = 'budget.settled'
  WHERE r.run_id = '{run}' AND r.kind = 'model.requested'
)
SELECT coalesce(model, '') AS model, coalesce(max(price_ref), '') AS price, count(*) AS calls,
  coalesce(sum(input_tokens), 0) AS input, coalesce(sum(output_tokens), 0) AS output,
  coalesce(sum(tokens) FILTER (WHERE in_doubt), 0) AS doubtful, coalesce(sum(nusd), 0) AS nusd
FROM call GROUP BY model ORDER BY nusd DESC, input DESC
"""

_DECLARED = """
SELECT agent_id, agent_name, attrs FROM events
WHERE run_id = '{run}' AND kind = 'tool.ended' AND (attrs->'seen') IS NOT NULL ORDER BY ts_ns, seq
"""


def _found(query: Query, wanted: str) -> str:
    """The whole id of a run."""
    if wanted != "last" and not _ID.fullmatch(wanted):
        raise UsageError(f"{wanted[:80]!r} is no id of a run: give one, its beginning, or 'last'")
    where = "" if wanted == "last" else f" AND starts_with(CAST(run_id AS VARCHAR), '{wanted}')"
    rows = query(f"{_STARTED}{where} ORDER BY ts_ns DESC LIMIT 2", 2, ASKED_S).rows
    if not rows:
        raise UsageError(
            f"no run {wanted!r} is on record: 'sashizu runs list' shows those that there are"
        )
    if len(rows) > 1 and wanted != "last" and rows[0] != rows[1]:
        raise UsageError(f"several runs begin with {wanted!r}: give more of the id")
    return str(rows[0][0])


def _rows(query: Query, sql: str, run_id: str) -> list[dict[str, Any]]:
    found = query(sql.replace("{run}", run_id), MOST, ASKED_S)
    return [
        {
            name: str(value) if name.endswith("agent_id") and value is not None else value
            for name, value in zip(found.columns, row, strict=True)
        }
        for row in found.rows
    ]


def _attrs(row: Mapping[str, Any]) -> Mapping[str, Any]:
    found = json.loads(row["attrs"]) if isinstance(row["attrs"], str) else row["attrs"]
    return found if isinstance(found, dict) else {}


def _limits(row: Mapping[str, Any]) -> Mapping[str, int]:
    """The limits of a run or an agent; what was recorded before all units were has its tokens."""
    limits = _attrs(row).get("limits")
    if isinstance(limits, dict):
        return {unit: int(limit) for unit, limit in limits.items()}
    return {} if row["budget_limit"] is None else {"tokens": int(row["budget_limit"])}


def _agent(row: Mapping[str, Any]) -> AgentSpend:
    return AgentSpend(
        row["agent_id"],
        row["parent_agent_id"],
        str(row["agent_name"] or ""),
        str(row["model"] or ""),
        "unfinished",
        _limits(row),
    )


def _book(agent: AgentSpend, row: Mapping[str, Any]) -> None:
    agent.tokens, agent.nusd = int(row["tokens"]), int(row["nusd"])
    agent.requests, agent.doubtful_tokens = int(row["requests"]), int(row["doubtful"])
    agent.refused, agent.overruns = int(row["refused"]), int(row["overruns"])
    if agent.status == "unfinished":
        agent.held_tokens, agent.held_nusd = int(row["held"]), int(row["held_nusd"])
    else:  # it was charged when the agent ended
        agent.tokens += int(row["held"])
        agent.nusd += int(row["held_nusd"])
        agent.doubtful_tokens += int(row["held"])


def _tree(agents: Mapping[str, AgentSpend]) -> list[AgentSpend]:
    """Put every agent below the one that started it; whose parent is not on record, on top."""
    top = []
    for agent in agents.values():
        above = agents.get(agent.parent or "")
        if above is None or above is agent:
            top.append(agent)
        else:
            above.children.append(agent)
    return top


def _flat(agents: Iterable[AgentSpend]) -> Iterable[AgentSpend]:
    for agent in agents:
        yield agent
        yield from _flat(agent.children)


def _model(row: Mapping[str, Any]) -> ModelSpend:
    numbers = (int(row[name]) for name in ("calls", "input", "output", "doubtful", "nusd"))
    return ModelSpend(str(row["model"]), str(row["price"]), *numbers)


def _declared(row: Mapping[str, Any]) -> Declared:
    attrs = _attrs(row)
    said = attrs.get("declared")
    return Declared(
        row["agent_id"],
        str(row["agent_name"] or ""),
        _tokens(said) if isinstance(said, dict) else None,
        _tokens(attrs["seen"]),
        int(attrs.get("doubtful_tokens") or 0),
    )


def _tokens(usage: Mapping[str, Any]) -> int:
    return int(usage.get("input_tokens") or 0) + int(usage.get("output_tokens") or 0)

"""Writes totals of a record in the text format of Prometheus.

Source: "Text-based format", version 0.0.4, of prometheus.io. Labels are names of agents, models and
providers, and our own words: never the names of tools, which models make up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["metric_lines", "write_prometheus"]

_SPENT = """
SELECT coalesce(agent_name, ''), coalesce(provider, ''), coalesce(model, ''), in_doubt,
       coalesce(declared_by, ''), sum({column})
FROM token_usage WHERE {column} IS NOT NULL GROUP BY ALL ORDER BY ALL
"""
_BY_WHAT = ("agent_name", "provider", "model", "in_doubt", "declared_by")

_METRICS: Sequence[tuple[str, str, Sequence[str], str]] = (
    (
        "sashizu_runs_total",
        "Runs that began.",
        ("status", "declared_by"),
        (
            "SELECT status, coalesce(declared_by, ''), count(*) FROM runs "
            "WHERE replay_of IS NULL GROUP BY ALL ORDER BY ALL"
        ),
    ),
    (
        "sashizu_agents_total",
        "Agent instances that began.",
        ("agent_name", "status", "declared_by"),
        (
            "SELECT coalesce(agent_name, ''), status, coalesce(declared_by, ''), count(*) "
            "FROM agent_executions WHERE replay_of IS NULL GROUP BY ALL ORDER BY ALL"
        ),
    ),
    (
        "sashizu_model_calls_total",
        "Attempts at calls of models.",
        ("provider", "model", "status", "declared_by"),
        (
            "SELECT coalesce(provider, ''), coalesce(model, ''), status, "
            "coalesce(declared_by, ''), count(*) FROM model_calls "
            "WHERE replay_of IS NULL GROUP BY ALL ORDER BY ALL"
        ),
    ),
    (
        "sashizu_tool_calls_total",
        "Tool calls that were asked for.",
        ("outcome", "declared_by"),
        (
            "SELECT outcome, coalesce(declared_by, ''), count(*) "
            "FROM tool_calls WHERE replay_of IS NULL GROUP BY ALL ORDER BY ALL"
        ),
    ),
    (
        "sashizu_tokens_total",
        "Tokens, input and output together; in doubt where nobody told what was billed.",
        _BY_WHAT,
        _SPENT.format(column="tokens"),
    ),
    (
        "sashizu_cost_usd_total",
        "Cost in US dollars, of calls whose cost is known.",
        _BY_WHAT,
        _SPENT.format(column="cost_usd"),
    ),
    (
        "sashizu_refused_total",
        "What was refused: calls that a budget did not hold, actions outside a permission.",
        ("by",),
        (
            "SELECT CASE kind WHEN 'budget.refused' THEN 'budget' ELSE 'permission' END, count(*) "
            "FROM events WHERE kind IN ('budget.refused', 'security.denied') "
            "AND replay_of IS NULL GROUP BY 1 ORDER BY 1"
        ),
    ),
)
"""Of each metric its name, what it counts, its labels, and the SQL of labels and value."""


def write_prometheus(connection: DuckDBPyConnection, folder: Path) -> None:
    """Write `metrics.prom`."""
    text = "".join(f"{line}\n" for line in metric_lines(connection))
    (folder / "metrics.prom").write_text(text, "utf-8", newline="\n")


def metric_lines(connection: DuckDBPyConnection) -> Iterator[str]:
    """The lines of all metrics, each a counter that begins anew when a record is pruned."""
    for name, told, labels, sql in _METRICS:
        yield f"# HELP {name} {told}"
        yield f"# TYPE {name} counter"
        for *values, number in connection.execute(sql).fetchall():
            pairs = zip(labels, map(_label, values), strict=True)
            yield f"{name}{{{','.join(f'{label}={value}' for label, value in pairs)}}} {number}"


def _label(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'

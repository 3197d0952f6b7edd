"""The agents of one run as a tree: who started whom, and what each cost with all its children."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sashizu_audit.store import AuditStore

__all__ = ["Branch", "run_tree", "tree_lines"]

_AGENTS = """
SELECT a.agent_id, a.parent_agent_id, a.agent_name, a.status, a.duration_ms,
       u.tokens, u.nusd, d.denied
FROM agent_executions a
LEFT JOIN (
  SELECT agent_id, sum(tokens) AS tokens, CAST(round(sum(cost_usd) * 1e9) AS BIGINT) AS nusd
  FROM token_usage GROUP BY agent_id
) u USING (agent_id)
LEFT JOIN (
  SELECT agent_id, count(*) AS denied FROM tool_calls WHERE decision = 'deny' GROUP BY agent_id
) d USING (agent_id)
WHERE CAST(a.run_id AS VARCHAR) = ? ORDER BY a.started, a.agent_id
"""


@dataclass(slots=True)
class Branch:
    """One agent instance; `tokens` and `nusd` (10⁻⁹ USD) are its own, `all_…` with its children."""

    agent_id: str
    agent: str
    status: str
    duration_ms: float | None
    tokens: int
    nusd: int
    denied: int
    all_tokens: int = 0
    all_nusd: int = 0
    children: list[Branch] = field(default_factory=list)


def run_tree(store: AuditStore, run_id: str) -> list[Branch]:
    """The agents of a run that nobody of the run started, with all beneath them.

    Raises:
        SashizuError: the record cannot be read.
    """
    rows = store.query(_AGENTS, [run_id], limit=100_000).dicts()
    branches = {str(row["agent_id"]): _branch(row) for row in rows}
    roots = []
    for row in rows:
        branch = branches[str(row["agent_id"])]
        parent = branches.get(str(row["parent_agent_id"]))
        if parent is None or parent is branch:
            roots.append(branch)
        else:
            parent.children.append(branch)
    for root in roots:
        for branch in reversed(list(_beneath(root))):
            branch.all_tokens = branch.tokens + sum(one.all_tokens for one in branch.children)
            branch.all_nusd = branch.nusd + sum(one.all_nusd for one in branch.children)
    return roots


def tree_lines(roots: list[Branch]) -> Iterator[str]:
    """The tree, one line for each agent."""
    todo = [(branch, "", "", "") for branch in reversed(roots)]
    while todo:
        branch, before, turn, after = todo.pop()
        yield f"{before}{turn}{_told(branch)}"
        last = len(branch.children) - 1
        beneath = [
            (
                child,
                before + after,
                "└─ " if place == last else "├─ ",
                "   " if place == last else "│  ",
            )
            for place, child in enumerate(branch.children)
        ]
        todo += reversed(beneath)


def _beneath(root: Branch) -> Iterator[Branch]:
    todo = [root]
    seen: set[str] = set()
    while todo:
        branch = todo.pop()
        if branch.agent_id not in seen:
            seen.add(branch.agent_id)
            yield branch
            todo += branch.children


def _branch(row: Mapping[str, Any]) -> Branch:
    return Branch(
        str(row["agent_id"]),
        str(row["agent_name"]),
        str(row["status"]),
        row["duration_ms"],
        int(row["tokens"] or 0),
        int(row["nusd"] or 0),
        int(row["denied"] or 0),
    )


def _told(branch: Branch) -> str:
    name = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in branch.agent
    )
    parts = [f"{name}: {branch.status}"]
    if branch.duration_ms is not None:
        parts.append(f"{branch.duration_ms / 1000:.1f} s")
    parts.append(f"{branch.tokens} tokens{_with_children(branch.tokens, branch.all_tokens)}")
    if branch.all_nusd:
        own, all_ = f"{branch.nusd / 1e9:.4f}", f"{branch.all_nusd / 1e9:.4f}"
        parts.append(f"{own} USD" + (f" ({all_} with children)" if own != all_ else ""))
    if branch.denied:
        parts.append(f"{branch.denied} denied")
    return ", ".join(parts)


def _with_children(own: int, all_: int) -> str:
    return f" ({all_} with children)" if own != all_ else ""

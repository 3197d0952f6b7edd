"""What is known of a run while it goes on, gathered from its events; and how a line shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sashizu_core.events import Event

from sashizu_cli.plain import cells, cut, one_line, padded

__all__ = ["Row", "RunView", "count_text", "elapsed_text"]

_BAR = 10
_ENDED = {"ok": "done", "timeout": "deadline", "cancelled": "cancelled"}


@dataclass(slots=True)
class Row:
    """One agent instance. `began` and `ended` are in seconds of the view's clock.

    `used` is what answers said they used, `charged` what the ledger booked. `parent_id` is the
    agent instance that started it, empty where nobody did; `depth` how many are above it.
    """

    name: str
    began: float
    state: str = "starting"
    step: int = 0
    used: int = 0
    charged: int = 0
    limit: int | None = None
    ended: float | None = None
    ok: bool = False
    depth: int = 0
    parent_id: str = ""

    @property
    def tokens(self) -> int:
        """With a ledger what it booked, which includes calls in doubt; else what was used."""
        return max(self.used, self.charged)

    @property
    def at_work(self) -> bool:
        return self.ended is None

    def seconds(self, now: float) -> float:
        return (now if self.ended is None else self.ended) - self.began


@dataclass(slots=True)
class RunView:
    """The rows of a run. `expected` is how many agents were asked for, `limit` the run's tokens."""

    clock: Callable[[], float]
    expected: int
    limit: int | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    began: float = 0.0

    def __post_init__(self) -> None:
        self.began = self.clock()

    def take(self, events: Iterable[Event]) -> None:
        """Learn from events; kinds that show nothing are passed over."""
        for event in events:
            handle = _HANDLERS.get(event.kind)
            if handle is not None:
                handle(self, event.fields)

    def hear(self, agent_id: str, text: str) -> None:
        """Learn that an agent's model is answering."""
        if text and agent_id in self.rows:
            self.rows[agent_id].state = "answering"

    def hear_line(self, agent_id: str, line: str) -> None:
        """Learn what the tool prints that an agent runs."""
        if line and agent_id in self.rows:
            row = self.rows[agent_id]
            row.state = f"{row.state.partition(': ')[0]}: {line}"

    @property
    def tokens(self) -> int:
        return sum(row.tokens for row in self.rows.values())

    def row(self, fields: Mapping[str, Any]) -> Row:
        """The row of the agent instance that an event is about."""
        agent_id = str(fields.get("agent_id", ""))
        if agent_id not in self.rows:
            name = one_line(str(fields.get("agent_name", "?")))
            same = sum(row.name.partition(" #")[0] == name for row in self.rows.values())
            depth, parent_id = int(fields.get("depth", 0)), str(fields.get("parent_agent_id", ""))
            self.rows[agent_id] = Row(
                f"{name} #{same + 1}" if same else name,
                self.clock(),
                depth=depth,
                parent_id=parent_id,
            )
        return self.rows[agent_id]

    # --- lines ------------------------------------------------------------------------------------

    def lines(self, width: int, height: int) -> list[tuple[str, Row | None]]:
        """A line per agent and one for all, at most `height` of them, each with its row.

        Where not all fit, those at work come first and the others are counted.
        """
        now = self.clock()
        rows = self._tree()
        room = max(1, height - 2)
        if len(rows) > room:
            rows = sorted(rows, key=lambda row: not row.at_work)[: room - 1]
        name_width = min(
            max((cells(_indented(row)) for row in rows), default=0), max(8, width // 3)
        )
        shown: list[tuple[str, Row | None]] = [
            (self._row_line(row, name_width, width, now), row) for row in rows
        ]
        if hidden := len(self.rows) - len(rows):
            shown.append((cut(f"… and {hidden} more", width), None))
        return [*shown, (self._total_line(width, now), None)]

    def _tree(self) -> list[Row]:
        """All rows, those of agents that an agent started right below its own."""
        below: dict[str, list[str]] = {}
        for agent_id, row in self.rows.items():
            parent_id = row.parent_id if row.parent_id in self.rows else ""
            below.setdefault(parent_id, []).append(agent_id)
        ordered: list[Row] = []
        waiting = below.get("", [])[::-1]
        while waiting:
            agent_id = waiting.pop()
            ordered.append(self.rows[agent_id])
            waiting += below.get(agent_id, [])[::-1]
        return ordered

    def _row_line(self, row: Row, name_width: int, width: int, now: float) -> str:
        limits = [limit for limit in (row.limit, self.limit) if limit is not None]
        limit = min(limits, default=None)
        right = _right(row.tokens, limit, row.seconds(now), width)
        state = f"{row.state}" if not row.step or width < 60 else f"step {row.step} {row.state}"
        middle = max(0, width - name_width - cells(right) - 3)
        return f"{padded(_indented(row), name_width)} {padded(one_line(state), middle)}  {right}"

    def _total_line(self, width: int, now: float) -> str:
        right = _right(self.tokens, self.limit, now - self.began, width)
        rows = self.rows.values()
        ended = sum(not row.at_work for row in rows)
        failed = sum(not row.at_work and not row.ok for row in rows)
        text = f"{ended} of {max(self.expected, len(rows))} done"
        if failed:
            text += f", {failed} not ok"
        return f"{padded(text, max(0, width - cells(right) - 2))}  {right}"


def _indented(row: Row) -> str:
    return f"{'  ' * row.depth}{row.name}"


def _right(tokens: int, limit: int | None, seconds: float, width: int) -> str:
    text = count_text(tokens)
    if limit is not None:
        text += f"/{count_text(limit)}"
    if width >= 60:
        text += " tokens"
        text = f"{_bar(tokens, limit)} {text}" if limit is not None and width >= 76 else text
    return f"{text} {elapsed_text(seconds):>5}"


def _bar(tokens: int, limit: int) -> str:
    full = min(_BAR, -(-tokens * _BAR // limit)) if limit > 0 else _BAR
    return "█" * full + "░" * (_BAR - full)


def count_text(number: int) -> str:
    """A count in at most five characters: 950, 12.3k, 4.5M."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= size:
            value = number / size
            return f"{value:.0f}{unit}" if value >= 100 else f"{value:.1f}{unit}"
    return str(number)


def elapsed_text(seconds: float) -> str:
    """Minutes and seconds, with hours where there are some."""
    whole = max(0, int(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    text = f"{minutes}:{whole % 60:02d}"
    return f"{hours}:{text:>05}" if hours else text


# --- what each event shows ------------------------------------------------------------------------


def _run_started(view: RunView, fields: Mapping[str, Any]) -> None:
    limit = fields.get("budget_limit")
    if isinstance(limit, int):
        view.limit = limit


def _agent_started(view: RunView, fields: Mapping[str, Any]) -> None:
    row = view.row(fields)
    limit = fields.get("budget_limit")
    if isinstance(limit, int):
        row.limit = limit


def _asked(view: RunView, fields: Mapping[str, Any]) -> None:
    row = view.row(fields)
    row.state = "thinking"
    row.step = int(fields.get("step", row.step)) + 1


def _answered(view: RunView, fields: Mapping[str, Any]) -> None:
    row = view.row(fields)
    row.used += int(fields.get("tokens", 0))
    row.state = "working"


def _attempt_failed(view: RunView, fields: Mapping[str, Any]) -> None:
    row = view.row(fields)
    row.used += int(fields.get("tokens", 0))
    row.state = f"retrying ({fields.get('error_type', 'failed')})"


def _settled(view: RunView, fields: Mapping[str, Any]) -> None:
    view.row(fields).charged += int(fields.get("budget_spent", 0))


def _tool_asked(view: RunView, fields: Mapping[str, Any]) -> None:
    row = view.row(fields)
    row.state = str(fields.get("tool", "tool"))
    row.step = int(fields.get("step", row.step)) + 1


def _degraded(view: RunView, fields: Mapping[str, Any]) -> None:
    how = (fields.get("attrs") or {}).get("how", "warned")
    if how == "window":
        return  # of the run, and of no agent
    if how == "warned":
        view.row(fields).state = "wrapping up"
    elif how == "fallback":
        view.row(fields).state = f"on {fields.get('model', 'its fallback')}"


def _rebalanced(view: RunView, fields: Mapping[str, Any]) -> None:
    row, limit = view.row(fields), fields.get("budget_limit")
    if fields.get("budget_unit") == "tokens" and isinstance(limit, int):
        row.limit = limit


def _agent_ended(view: RunView, fields: Mapping[str, Any]) -> None:
    row = view.row(fields)
    status = str(fields.get("status", ""))
    row.state = _ENDED.get(status, str(fields.get("error_type") or "failed").replace("_", " "))
    row.ok = status == "ok"
    row.ended = view.clock()


_HANDLERS: Mapping[str, Callable[[RunView, Mapping[str, Any]], None]] = {
    "run.started": _run_started,
    "agent.started": _agent_started,
    "model.requested": _asked,
    "model.answered": _answered,
    "model.failed": _attempt_failed,
    "budget.settled": _settled,
    "tool.requested": _tool_asked,
    "budget.degraded": _degraded,
    "budget.rebalanced": _rebalanced,
    "agent.ended": _agent_ended,
}

"""The geometry of the time line: agents are rows, calls are bars. No text, no markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sashizu_dashboard.shown import Agent, Call, Shown

__all__ = ["Bar", "Row", "Tick", "Timeline", "timeline_of"]

WIDTH = 1000
LEFT = 210
ROW = 34
TOP = 26
_LEAST = 2.0
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Bar:
    x: float
    y: int
    width: float
    height: int
    call: Call


@dataclass(frozen=True, slots=True)
class Row:
    y: int
    x: float
    width: float
    agent: Agent


@dataclass(frozen=True, slots=True)
class Tick:
    x: float
    after_ns: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """Units are those of the drawing's view box, `width` by `height`."""

    width: int
    height: int
    rows: tuple[Row, ...]
    bars: tuple[Bar, ...]
    ticks: tuple[Tick, ...]


def timeline_of(shown: Shown) -> Timeline:
    """Where everything stands; what has no end reaches to the end of all that is known."""
    first, last = _span(shown)
    scale = (WIDTH - LEFT - 10) / max(1, last - first)

    def place(start: int, end: int) -> tuple[float, float]:
        x = min(max(start - first, 0) * scale, WIDTH - LEFT - 10 - _LEAST)
        width = max(_LEAST, min((end - start) * scale, WIDTH - LEFT - 10 - x))
        return round(LEFT + x, 2), round(width, 2)

    rows = []
    for number, agent in enumerate(shown.agents):
        x, width = place(agent.started_ns, last if agent.ended_ns is None else agent.ended_ns)
        rows.append(Row(TOP + number * ROW, x, width, agent))
    at = {row.agent.agent_id: row for row in rows}
    bars = []
    for call in shown.calls:
        if row := at.get(call.agent_id):
            x, width = place(call.started_ns, call.started_ns + (call.duration_ns or 0))
            offset = 4 if call.kind == "model" else 17
            bars.append(Bar(x, row.y + offset, width, 12, call))
    step = (last - first) / _TICKS
    ticks = tuple(
        Tick(round(LEFT + number * step * scale, 2), round(number * step))
        for number in range(_TICKS + 1)
    )
    return Timeline(WIDTH, TOP + ROW * max(1, len(rows)) + 6, tuple(rows), tuple(bars), ticks)


def _span(shown: Shown) -> tuple[int, int]:
    starts: Sequence[int] = [agent.started_ns for agent in shown.agents]
    first = min([shown.run.started_ns, *starts])
    ends = [agent.ended_ns or agent.started_ns for agent in shown.agents]
    calls = [call.started_ns + (call.duration_ns or 0) for call in shown.calls]
    return first, max([shown.run.ended_ns or first, shown.until_ns or first, *ends, *calls])

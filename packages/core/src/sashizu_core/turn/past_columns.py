"""Which columns of two recorded events have to say the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["NOT_COMPARED", "compared", "differences"]

Fields = Mapping[str, Any]

NOT_COMPARED = frozenset(
    {
        *("v", "event_id", "ts_ns", "mono_ns", "writer_id", "seq", "kind", "h"),
        *("actor", "run_id", "conversation_id", "agent_id", "parent_agent_id"),
        *("trace_id", "span_id", "parent_span_id", "budget_id", "replay_of"),
        *("duration_ns", "redactions"),
    }
)
"""Columns that are ids or times, or that say who asked."""


def compared(fields: Fields) -> dict[str, Any]:
    """The columns of an event that say the same in a run and in its replay."""
    return {
        name: value
        for name, value in fields.items()
        if name not in NOT_COMPARED and value is not None
    }


def differences(was: Fields, now: Fields) -> list[tuple[str, Any, Any]]:
    """The columns in which two events differ, with both values; None is for none."""
    old, new = _plain(compared(was)), _plain(compared(now))
    return [
        (name, old.get(name), new.get(name))
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def _plain(fields: Fields) -> dict[str, Any]:
    """As JSON has it: what was read and what is about to be written look the same."""
    plain: dict[str, Any] = json.loads(json.dumps(fields, default=str))
    return plain

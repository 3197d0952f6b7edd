"""What a page says of one event: a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sashizu_dashboard.markup import CALM, visible
from sashizu_dashboard.told import mapping, number, text

__all__ = ["Happened", "happened"]

_FINE = CALM | {"", "allow", "enforced", "info"}


@dataclass(frozen=True, slots=True)
class Happened:
    """One event as it is shown. `at_ns` is when it arrived here, `bad` that it deserves a look."""

    count: int
    run_id: str
    at_ns: int
    kind: str
    agent: str
    what: str
    outcome: str
    detail: str
    bad: bool

    @property
    def clock(self) -> str:
        """The time of the day, UTC."""
        return f"{datetime.fromtimestamp(self.at_ns // 10**9, UTC):%H:%M:%S}"

    def plain(self) -> Mapping[str, Any]:
        """As JSON values, in which every character shows."""
        return {
            "run": self.run_id,
            "time": self.clock,
            "kind": visible(self.kind),
            "agent": visible(self.agent),
            "what": visible(self.what),
            "outcome": visible(self.outcome),
            "detail": visible(self.detail),
            "bad": self.bad,
        }


def happened(count: int, run_id: str, at_ns: int, event: Mapping[str, Any]) -> Happened:
    """The line of an event that the control socket told."""
    kind = text(event.get("kind"), 80)
    what = event.get("tool") or event.get("model_used") or event.get("model")
    outcome = text(event.get("decision") or event.get("status"), 80)
    return Happened(
        count,
        run_id,
        at_ns,
        kind,
        text(event.get("agent_name"), 120) or "the run",
        text(what or event.get("category") or event.get("budget_unit"), 120),
        outcome,
        _detail(kind, event),
        outcome not in _FINE or kind in {"security.denied", "budget.refused", "budget.overrun"},
    )


def _detail(kind: str, event: Mapping[str, Any]) -> str:
    if kind == "model.answered":
        return f"{number(event.get('tokens')):,} tokens"
    if kind == "budget.settled":
        spent, held = number(event.get("budget_spent")), number(event.get("budget_held"))
        return f"{spent:,} spent of {held:,} held"
    if kind.startswith("budget."):
        return f"{number(event.get('budget_held')):,}"
    attrs = mapping(event.get("attrs"))
    told = (
        event.get("decision_reason") or event.get("decision_rule"),
        event.get("error_type"),
        attrs.get("request"),
        attrs.get("reason"),
    )
    return text("; ".join(str(each) for each in told if each), 300)

"""What a page tells of refusals that the real record holds."""

from pathlib import Path

import pytest
from sashizu_audit.asking import asked
from sashizu_audit.writer import AuditWriter
from sashizu_core.events import Event
from sashizu_dashboard.page import page_of
from sashizu_dashboard.record import find_run, read_run

RUN = "01a1fe0a-09d5-7329-860a-2f7d5d59d9f0"
AGENT = "01a1fe0a-0f84-707c-bf00-b93c13dbf583"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    who = {"run_id": RUN, "agent_id": AGENT, "agent_name": "lead", "step": 1}
    call = {**who, "tool": "shell", "tool_call_id": "1"}
    events = [
        Event("run.started", {"run_id": RUN, "attrs": {"limits": {"tokens": 9}}}),
        Event("agent.started", {**who, "attrs": {"limits": {"requests": 4}}}),
        Event("tool.requested", call),
        Event("tool.decided", {**call, "decision": "deny", "decision_rule": "deny <b>curl</b>"}),
        Event("security.denied", {**call, "status": "denied", "decision_reason": "not granted"}),
        Event(
            "tool.decided",
            {**call, "step": 2, "decision": "allow", "decided_by": "user"},
        ),
        Event(
            "tool.decided",
            {**call, "step": 3, "decision": "allow", "decided_by": "rule"},
        ),
        Event(
            "budget.refused",
            {**who, "budget_unit": "tokens", "budget_held": 90, "attrs": {"left": 3}},
        ),
    ]
    with AuditWriter(tmp_path / "audit") as writer:
        writer.write(events)
        writer.flush()
    return tmp_path / "audit"


def test_a_page_tells_what_was_refused_and_asked_and_why(folder):
    def query(sql: str, limit: int, timeout_s: float):
        return asked(folder, sql, limit=limit, timeout_s=timeout_s)

    shown = read_run(query, find_run(query, "last"))

    assert [(one.kind, one.verdict, one.why) for one in shown.refusals] == [
        ("tool.decided", "deny", "deny <b>curl</b>"),
        ("security.denied", "denied", "not granted"),
        ("tool.decided", "allow", ""),
        ("budget.refused", "", "asked for 90 tokens, left 3"),
    ]
    assert shown.run.ended_ns is None
    assert shown.run.limits == {"tokens": 9}
    assert shown.agents[0].limits == {"requests": 4}
    assert "deny &lt;b&gt;curl" in page_of(shown)

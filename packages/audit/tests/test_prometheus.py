"""Totals as Prometheus reads them."""

from __future__ import annotations

import re
from pathlib import Path

from sashizu_audit import AuditWriter
from sashizu_audit.export import export_record
from sashizu_audit.spool import WriterOptions
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\} ([0-9.e+-]+)')

OF_CALL = 'provider="",model="m",status="ok",declared_by=""'


def test_totals_are_counted_and_hostile_names_stay_in_their_label(tmp_path: Path) -> None:
    run_id, agent_id = uuid7(), uuid7()
    who = {"run_id": run_id, "agent_id": agent_id, "agent_name": 'a"} 9\nup 1\\'}
    usage = {"provider": "p", "model": "m", "tokens": 9, "cost_nusd": 2_500_000_000}
    with AuditWriter(tmp_path / "audit", options=WriterOptions(ballast_bytes=0)) as writer:
        writer.write(
            [
                Event("run.started", {"run_id": run_id}),
                Event("agent.started", who),
                Event("model.requested", {**who, "step": 0, "model": "m"}),
                Event("model.answered", {**who, "step": 0, "status": "ok", **usage}),
                Event("tool.requested", {**who, "step": 1, "tool": "secret name"}),
                Event("tool.decided", {**who, "step": 1, "decision": "deny"}),
                Event("security.denied", {**who, "step": 1}),
                Event("budget.refused", who),
                Event("budget.settled", {**who, "budget_spent": 4, "attrs": {"in_doubt": True}}),
            ]
        )
        again = {"run_id": uuid7(), "agent_id": uuid7(), "replay_of": run_id}
        repeated = ("run.started", "agent.started", "model.requested", "tool.requested")
        kinds = (*repeated, "security.denied", "budget.refused")
        writer.write([Event(kind, {**again, "step": 0}) for kind in kinds])
    export_record(tmp_path / "audit", tmp_path / "copy", "prometheus")
    text = (tmp_path / "copy" / "metrics.prom").read_text("utf-8")
    samples = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            samples[match[1], match[2]] = float(match[3])
    name = 'agent_name="a\\"} 9\\nup 1\\\\"'
    of_model = f'{name},provider="p",model="m",in_doubt="false",declared_by=""'
    assert samples["sashizu_runs_total", 'status="unfinished",declared_by=""'] == 1
    assert samples["sashizu_agents_total", f'{name},status="unfinished",declared_by=""'] == 1
    assert samples["sashizu_tokens_total", of_model] == 9
    assert samples["sashizu_cost_usd_total", of_model] == 2.5
    doubtful = f'{name},provider="",model="",in_doubt="true",declared_by=""'
    assert samples["sashizu_tokens_total", doubtful] == 4
    assert samples["sashizu_tool_calls_total", 'outcome="denied",declared_by=""'] == 1
    assert samples["sashizu_refused_total", 'by="budget"'] == 1
    assert samples["sashizu_refused_total", 'by="permission"'] == 1
    assert "secret name" not in text
    counted = [metric for metric, _ in samples]
    assert len(counted) == len(set(counted)) + 2  # tokens in doubt, and two that were refused
    assert samples["sashizu_model_calls_total", OF_CALL] == 1

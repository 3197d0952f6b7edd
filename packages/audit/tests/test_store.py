"""What the views say of real segments, also while they are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sashizu_audit import AuditStore, AuditWriter
from sashizu_audit.sealing import seal_record
from sashizu_audit.store import VIEWS, _named
from sashizu_core.errors import UsageError
from sashizu_core.events import COLUMNS, Event
from sashizu_core.ids import uuid7

RUN, OTHER_RUN = uuid7(), uuid7()
LEAD, CHILD = uuid7(), uuid7()


def event(kind: str, agent: str = LEAD, run: str = RUN, **fields: Any) -> Event:
    name = {LEAD: "lead", CHILD: "child"}[agent]
    context = {"run_id": run, "agent_id": agent, "agent_name": name, "project": "p"}
    if agent == CHILD:
        context["parent_agent_id"] = LEAD
    if kind.startswith("run."):
        context = {"run_id": run, "project": "p"}
    return Event(kind, {**context, **fields})


def one_run() -> list[Event]:
    artifact = {"path": "report.md", "sha256": "a" * 64, "bytes": 12}
    return [
        event("run.started", actor="user:me", budget_limit=1000, attrs={"agents": ["lead"]}),
        event("agent.started", depth=0, model="m"),
        event("agent.started", CHILD, depth=1, model="m"),
        event("budget.held", step=0, budget_unit="tokens", budget_held=500),
        event("model.requested", step=0, provider="p", model="m"),
        event("model.answered", step=0, provider="p", model="m", status="ok", tokens=120,
              input_tokens=100, output_tokens=20, cost_nusd=5, duration_ns=2_000_000),
        event("budget.settled", step=0, budget_spent=120, attrs={"nusd": 5, "in_doubt": False}),
        event("model.requested", CHILD, step=0, provider="p", model="m"),
        event("model.failed", CHILD, step=0, provider="p", model="m", status="error",
              error_type="transport"),
        event("budget.settled", CHILD, step=0, budget_spent=70,
              attrs={"nusd": 3, "in_doubt": True}),
        event("tool.requested", step=1, tool="grep", tool_call_id="1"),
        event("tool.decided", step=1, tool="grep", decision="allow", decided_by="rule"),
        event("tool.ended", step=1, tool="grep", status="ok", duration_ns=1_000_000),
        event("tool.requested", step=2, tool="write_file", tool_call_id="2"),
        event("tool.decided", step=2, tool="write_file", decision="deny", decided_by="default"),
        event("security.denied", step=2, tool="write_file", severity="warning"),
        event("tool.requested", step=3, tool="shell", tool_call_id="3"),
        event("agent.ended", status="ok", duration_ns=9_000_000,
              attrs={"steps": 4, "tokens": 120, "requests": 1, "artifacts": [artifact]}),
        event("run.ended", status="ok", duration_ns=10_000_000, budget_spent=190,
              attrs={"nusd": 8}),
    ]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with AuditWriter(tmp_path) as writer:
        writer.write(one_run())
    return tmp_path


def rows(folder: Path, sql: str) -> list[dict[str, Any]]:
    return AuditStore(folder).query(sql).dicts()


def test_a_store_without_anything_has_every_view_empty(tmp_path: Path) -> None:
    for view in VIEWS:
        assert AuditStore(tmp_path / "nothing").query(f"FROM {view}").rows == ()


def test_events_have_every_column_and_the_time(folder: Path) -> None:
    found = AuditStore(folder).query("FROM events LIMIT 1").columns
    assert found == (*COLUMNS, "details", "ts")


def test_tokens_are_summed_per_agent_attempts_in_doubt_included(folder: Path) -> None:
    sql = "select agent_name, sum(tokens) as tokens from token_usage group by 1 order by 1"
    assert AuditStore(folder).query(sql).rows == (("child", 70), ("lead", 120))


def test_a_run_has_its_end_its_cost_and_its_agents(folder: Path) -> None:
    (run,) = rows(folder, "FROM runs")
    assert (run["status"], run["budget_spent"], run["cost_usd"]) == ("ok", 190, 8e-9)
    assert json.loads(run["agents"]) == ["lead"]


def test_an_agent_without_an_end_is_unfinished(folder: Path) -> None:
    found = rows(folder, "SELECT agent_name, status, steps FROM agent_executions ORDER BY 1")
    assert [(r["agent_name"], r["status"], r["steps"]) for r in found] == [
        ("child", "unfinished", None),
        ("lead", "ok", 4),
    ]


def test_the_tree_has_paths_and_levels(folder: Path) -> None:
    found = rows(folder, "SELECT path, level FROM agent_tree ORDER BY level")
    assert [(r["path"], r["level"]) for r in found] == [("lead", 0), ("lead/child", 1)]


def test_a_tool_call_is_done_denied_or_without_a_result(folder: Path) -> None:
    found = rows(folder, "SELECT tool, outcome FROM tool_calls ORDER BY step")
    assert [(r["tool"], r["outcome"]) for r in found] == [
        ("grep", "done"),
        ("write_file", "denied"),
        ("shell", "no result"),
    ]


def test_model_calls_join_the_question_with_the_answer(folder: Path) -> None:
    found = rows(folder, "SELECT agent_name, status, duration_ms FROM model_calls ORDER BY 1")
    assert [(r["agent_name"], r["status"], r["duration_ms"]) for r in found] == [
        ("child", "error", None),
        ("lead", "ok", 2.0),
    ]


def test_artifacts_come_with_their_digest(folder: Path) -> None:
    (artifact,) = rows(folder, "SELECT agent_name, path, sha256, bytes FROM artifacts")
    assert artifact == {
        "agent_name": "lead",
        "path": "report.md",
        "sha256": "a" * 64,
        "bytes": 12,
    }


def test_writers_and_gaps(folder: Path) -> None:
    (writer,) = rows(folder, "FROM writers")
    assert (writer["closed"], writer["segments"], writer["events"]) == (True, 1, 21)
    (gap,) = rows(folder, "FROM seq_gaps")
    assert gap["missing"] == 0


def test_a_missing_line_is_a_gap(folder: Path) -> None:
    (segment,) = (folder / "hot").iterdir()
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:5] + lines[6:]))
    (gap,) = rows(folder, "FROM seq_gaps")
    assert gap["missing"] == 1


def test_a_run_is_seen_while_it_is_written_and_two_at_once(tmp_path: Path) -> None:
    with AuditWriter(tmp_path) as first, AuditWriter(tmp_path) as second:
        first.write([event("run.started", attrs={"agents": []})])
        second.write([event("run.started", run=OTHER_RUN, attrs={"agents": []})])
        found = rows(tmp_path, "SELECT status FROM runs")
        assert [r["status"] for r in found] == ["unfinished", "unfinished"]
        first.write([event("run.ended", status="ok")])
        second.write([event("run.ended", run=OTHER_RUN, status="error")])
        found = rows(tmp_path, "SELECT status FROM runs ORDER BY status")
    assert [r["status"] for r in found] == ["error", "ok"]


@pytest.mark.parametrize("tail", [b'{"v":1,"kind":"run.st', b"\0" * 2600, b"\xff\xfe\n", b"[]\n"])
def test_what_a_crash_leaves_at_the_end_hides_nothing_before_it(folder: Path, tail: bytes) -> None:
    (segment,) = (folder / "hot").iterdir()
    with segment.open("ab") as file:
        file.write(tail)
    assert rows(folder, "SELECT count(*) AS n FROM events")[0]["n"] == 21


def test_a_query_that_gives_more_bytes_than_fit_is_cut_and_says_so(tmp_path: Path) -> None:
    found = AuditStore(tmp_path).query("SELECT repeat('x', 1000000) FROM range(500)")
    assert found.truncated
    assert 0 < len(found.rows) < 200


def test_a_query_that_takes_long_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = "SELECT count(*) FROM range(60000) a, range(100000) b WHERE a.range + b.range = 7"
    with pytest.raises(UsageError, match="stopped after"):
        AuditStore(tmp_path).query(slow, timeout_s=4)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("sealed", [False, True])
def test_details_are_attrs_as_a_value_whose_members_have_types(
    tmp_path: Path, sealed: bool
) -> None:
    attrs = {"args": {"cmd": "git status", "n": 2**60}, "gen_ai.x": [1, 2.5, None], "ok": True}
    with AuditWriter(tmp_path) as writer:
        writer.write([event("tool.requested", step=0, tool="shell", attrs=attrs)])
        writer.write([event("tool.requested", step=1, tool="shell")])
    if sealed:
        seal_record(tmp_path)
    store = AuditStore(tmp_path)
    members = """
        SELECT details.args.cmd::VARCHAR, details.args.n::BIGINT, details."gen_ai.x"[2]::DOUBLE,
               details.ok::BOOLEAN, details.nothing IS NULL, details.args.cmd = 'git status'
        FROM events WHERE kind = 'tool.requested' AND step = 0
    """
    assert store.query(members).rows == (("git status", 2**60, 2.5, True, True, True),)
    (whole, without) = store.query(
        "SELECT details, attrs FROM events WHERE kind = 'tool.requested' ORDER BY step"
    ).rows
    assert whole[0] == attrs == json.loads(whole[1])
    assert without == (None, None)
    (kind,) = store.query("SELECT typeof(details) FROM events LIMIT 1").rows
    assert kind == ("VARIANT",)


def test_only_the_views_that_a_query_may_name_are_made() -> None:
    assert _named("SELECT count(*) FROM events") == []
    assert _named('SELECT 1 FROM "RUNS"') == ["runs"]
    for view in VIEWS[1:]:
        assert view in _named(f"SELECT * FROM {view}")


def test_every_view_can_be_asked_alone(tmp_path: Path) -> None:
    for view in VIEWS:
        assert AuditStore(tmp_path / "nothing").query(f"SELECT * FROM {view}").rows == ()

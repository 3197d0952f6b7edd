"""Questions with names, the tree of a run, numbers, and several records at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sashizu_audit import AuditStore, AuditWriter
from sashizu_audit.canned import all_canned, find_canned
from sashizu_audit.cli import app
from sashizu_audit.sealing import seal_record
from sashizu_audit.spool import BRIEF
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7
from typer.testing import CliRunner, Result

RUN, LEAD, CHILD, GRANDCHILD = (uuid7() for _ in range(4))


def agent(agent_id: str, name: str, parent: str | None = None) -> list[Event]:
    context: dict[str, Any] = {"run_id": RUN, "agent_id": agent_id, "agent_name": name}
    bill = {"status": "ok", "tokens": 100, "cost_nusd": 2_000_000, "duration_ns": 5_000_000}
    started = context | ({"parent_agent_id": parent} if parent else {})
    return [
        Event("agent.started", {**started, "model": "m"}),
        Event("model.requested", {**context, "step": 0, "provider": "p", "model": "m"}),
        Event("model.answered", {**context, "step": 0, "provider": "p", "model": "m", **bill}),
        Event("tool.requested", {**context, "step": 1, "tool": "shell"}),
        Event("tool.decided", {**context, "step": 1, "decision": "deny", "decided_by": "rule"}),
    ]


def write(folder: Path) -> None:
    with AuditWriter(folder) as writer:
        writer.write([Event("run.started", {"run_id": RUN, "attrs": {"agents": ["lead"]}})])
        writer.write(agent(LEAD, "lead"))
        writer.write(agent(CHILD, "child", LEAD))
        writer.write(agent(GRANDCHILD, "grand\x1b[31m", CHILD))
        ended = {"run_id": RUN, "agent_id": LEAD, "agent_name": "lead", "status": "ok"}
        writer.write([Event("agent.ended", {**ended, "duration_ns": 7_000_000})])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "audit")
    return tmp_path / "audit"


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize("name", [canned.name for canned in all_canned()])
def test_every_question_has_an_answer_before_and_after_sealing(folder: Path, name: str) -> None:
    canned = find_canned(name)
    values = canned.values((), lambda _: RUN)
    before = AuditStore(folder).query(canned.sql, values)
    seal_record(folder)
    after = AuditStore(folder).query(canned.sql, values)
    assert canned.summary.endswith(".")
    assert before.columns == after.columns
    if name not in ("custody", "gaps"):
        assert sorted(before.rows, key=str) == sorted(after.rows, key=str)
    assert AuditStore(folder.parent / "nothing").query(canned.sql, values).rows == ()


def test_a_question_takes_parameters_and_gives_rows_in_any_form(folder: Path) -> None:
    place = ("--store", str(folder))
    found = json.loads(call("query", "cost-by-path", "--format", "json", *place).stdout)
    assert [row["path"] for row in found] == ["lead", "lead/child", "lead/child/grand\x1b[31m"]
    assert [row["usd"] for row in found] == [0.002] * 3
    one = call("query", "slowest", "--param", "count=1", "--param", f"run={RUN[:18]}", *place)
    assert "(1 row)" in one.stdout
    none = call("query", "denied", "--param", "days=0", *place)
    assert "(0 rows)" in none.stdout
    asked = AuditStore(folder).query("FROM events WHERE kind = 'audit.queried'").rows
    assert len(asked) == 3


def test_questions_are_listed_and_shown_as_sql() -> None:
    listed = call("query").stdout
    assert "cost-by-agent" in listed
    assert "days: how many days back (default: 30)" in listed
    names = [one["name"] for one in json.loads(call("query", "--format", "json").stdout)]
    assert names == sorted(names)
    assert call("query", "gaps", "--sql").stdout.startswith("SELECT")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["query", "deny"], "did you mean 'denied'"),
        (["query", "denied", "--param", "day=3"], "did you mean 'days'"),
        (["query", "denied", "--param", "days"], "NAME=VALUE"),
        (["query", "denied", "--param", "days=x"], "whole number"),
        (["query", "denied", "--param", "days=1", "--param", "days=2"], "given twice"),
        (["query", "gaps", "--param", "x=1"], "its parameters: none"),
        (["query", "slowest", "--param", "run=nope"], "no run 'nope'"),
        (["tree", "nope"], "no run 'nope'"),
    ],
)
def test_what_cannot_be_asked_says_why(folder: Path, words: list[str], said: str) -> None:
    result = call(*words, "--store", str(folder))
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)


def test_the_tree_sums_up_what_children_cost(folder: Path) -> None:
    shown = call("tree", "last", "--store", str(folder)).stdout
    lead, child, grand = shown.splitlines()[1:]
    assert lead.startswith("lead: ok, 0.0 s, 100 tokens (300 with children), 0.0020 USD (0.0060 ")
    assert child.startswith("└─ child: unfinished, 100 tokens (200 with children), ")
    assert grand == "   └─ grand\\x1b[31m: unfinished, 100 tokens, 0.0020 USD, 1 denied"
    found = json.loads(call("tree", RUN, "--json", "--store", str(folder)).stdout)
    (root,) = found["agents"]
    assert (root["all_nusd"], root["children"][0]["all_tokens"]) == (6_000_000, 200)


def test_numbers_of_a_record(folder: Path) -> None:
    seal_record(folder)
    found = json.loads(call("stats", "--json", "--store", str(folder)).stdout)
    assert (found["runs"], found["agents"], found["tokens"], found["usd"]) == (1, 3, 300, 0.006)
    assert (found["segments_sealed"], found["tables"], found["segments_hot"]) == (1, 1, 1)
    assert found["kinds"]["model.answered"] == 3
    assert found["bytes"]["sealed"] > 0
    shown = call("stats", "--store", str(folder)).stdout
    assert "billed    300 tokens, 0.0060 USD" in shown


def test_show_gives_one_json_value(folder: Path) -> None:
    found = json.loads(call("show", "last", "--json", "--store", str(folder)).stdout)
    assert [one["agent"] for one in found["agents"]] == ["lead", "child", "grand\x1b[31m"]
    assert found["artifacts"] == []
    assert found["run_id"] == RUN


# --- several records ------------------------------------------------------------------------------


def test_several_records_are_asked_at_once_sealed_or_not(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    run = uuid7()
    with AuditWriter(other) as writer:
        writer.write([Event("run.started", {"run_id": run, "attrs": {"agents": ["x"]}})])
    seal_record(other)
    places = ("--store", str(folder), "--store", str(other))
    found = json.loads(call("runs", "--format", "json", *places).stdout)
    assert {row["run_id"] for row in found} == {RUN, run}
    assert RUN in call("tree", RUN, *places).stdout
    rows = json.loads(call("sql", "SELECT run_id FROM runs", "--format", "json", *places).stdout)
    assert len(rows) == 2
    for place in (folder, other):
        asked = AuditStore(place).query("FROM events WHERE kind = 'audit.queried'").rows
        assert len(asked) == 2
    kinds = [json.loads(line) for line in call("tail", "-n", "99", *places).stdout.splitlines()]
    started = {event["run_id"] for event in kinds if event["kind"] == "run.started"}
    assert started == {RUN, run}
    both = json.loads(call("stats", "--json", *places).stdout)
    assert [one["runs"] for one in both] == [1, 1]


def test_the_same_record_twice_would_count_twice_and_is_refused(folder: Path) -> None:
    result = call("runs", "--store", str(folder), "--store", f"{folder}/../audit")
    assert isinstance(result.exception, UsageError)
    assert "hold the same record" in str(result.exception)


# --- doctor ---------------------------------------------------------------------------------------


def states(folder: Path) -> tuple[int, dict[str, str]]:
    result = call("doctor", "--json", "--store", str(folder))
    return result.exit_code, {one["check"]: one["state"] for one in json.loads(result.stdout)}


def test_the_doctor_finds_nothing_broken_in_a_good_record(folder: Path) -> None:
    code, found = states(folder)
    assert code == 0
    assert "problem" not in found.values()
    assert found["checkpoints"] == "notice"


def test_the_doctor_names_what_is_broken(folder: Path) -> None:
    seal_record(folder)
    (folder / "sealed.json").write_text("{")
    (folder / "hot").chmod(0o755)
    (folder / "holds.json").write_text("{")
    code, found = states(folder)
    assert code == 1
    broken = {check for check, state in found.items() if state == "problem"}
    assert broken >= {"folder", "tables", "holds"}
    assert "chmod 700" in call("doctor", "--store", str(folder)).stdout


@pytest.mark.parametrize("text", ["[]", None])
def test_the_doctor_finds_a_record_that_has_lost_its_id(folder: Path, text: str | None) -> None:
    place = folder / "store.json"
    if text is None:
        place.unlink()
        with pytest.raises(RecordError, match=r"without its store\.json"):
            AuditWriter(folder)  # a second record over the first would make both look forged
    else:
        place.write_text(text)
    result = call("doctor", "--json", "--store", str(folder))
    assert result.exit_code == 1
    assert "store.json" in str([one for one in json.loads(result.stdout) if one["state"] != "ok"])


def test_the_doctor_says_what_is_worth_doing(folder: Path, tmp_path: Path) -> None:
    seal_record(folder)
    next((folder / "parquet").rglob("*.parquet")).unlink()
    (folder / "ballast").unlink()
    code, found = states(folder)
    assert code == 0
    assert (found["tables"], found["ballast"]) == ("notice", "notice")
    assert call("doctor", "--store", str(tmp_path)).exit_code == 0


def test_at_a_terminal_no_name_of_a_tool_steers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with AuditWriter(tmp_path / "audit", options=BRIEF) as writer:
        writer.write([Event("tool.requested", {"tool": "a\x1b]0;b\x07\x9bc"})])
    words = ["--store", str(tmp_path / "audit"), "--format", "csv"]
    query = "SELECT tool FROM events WHERE tool IS NOT NULL"
    piped = call("sql", query, *words)
    assert "\x1b]0;b\x07\x9bc" in piped.stdout
    monkeypatch.setattr("sashizu_audit.options.at_terminal", lambda: True)
    for command in (["sql", query, *words], ["tail", *words[:2]]):
        text = call(*command).stdout
        assert text
        assert not set(text) & set("\x1b\x07\x9b")

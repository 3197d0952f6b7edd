"""The command `audit` on real records."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from sashizu_audit import AuditStore, AuditWriter
from sashizu_audit.cli import app
from sashizu_core.errors import UsageError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7
from typer.testing import CliRunner, Result

RUN = uuid7()
AGENT = uuid7()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    context = {"run_id": RUN, "agent_id": AGENT, "agent_name": "red\x1b[31m"}
    with AuditWriter(tmp_path / "audit") as writer:
        writer.write(
            [
                Event("run.started", {"run_id": RUN, "attrs": {"agents": ["a"]}}),
                Event("agent.started", {**context, "model": "m"}),
                Event("model.answered", {**context, "step": 0, "tokens": 5, "status": "ok"}),
                Event("agent.ended", {**context, "status": "ok", "attrs": {"tokens": 5}}),
                Event("run.ended", {"run_id": RUN, "status": "ok"}),
            ]
        )
    return tmp_path / "audit"


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), catch_exceptions=True)


SQL = "SELECT run_id, status FROM runs"


def test_rows_come_as_a_table_json_csv_or_markdown(folder: Path) -> None:
    table = call("sql", SQL, "--store", str(folder))
    assert table.exit_code == 0
    assert "(1 row)" in table.stdout
    found = json.loads(call("sql", SQL, "--format", "json", "--store", str(folder)).stdout)
    assert found == [{"run_id": RUN, "status": "ok"}]
    odd = "select 'nan'::double as a, 2 as a, '-inf'::double as b"
    found_odd = json.loads(call("sql", odd, "--format", "json", "--store", str(folder)).stdout)
    assert found_odd == [{"a": None, "a_2": 2, "b": None}]
    text = call("sql", SQL, "--format", "csv", "--store", str(folder)).stdout
    assert list(csv.reader(io.StringIO(text))) == [["run_id", "status"], [RUN, "ok"]]
    assert (
        "| run_id | status |" in call("sql", SQL, "--format", "md", "--store", str(folder)).stdout
    )


def test_a_question_is_itself_on_record_without_its_text(folder: Path) -> None:
    call("sql", SQL, "--store", str(folder))
    (asked,) = AuditStore(folder).query("FROM events WHERE kind = 'audit.queried'").dicts()
    assert len(asked["args_sha256"]) == 64
    assert SQL not in "".join(p.read_text("utf-8") for p in (folder / "hot").iterdir())


def test_names_from_outside_cannot_steer_the_terminal(folder: Path) -> None:
    shown = call("show", "last", "--store", str(folder)).stdout
    assert "\x1b" not in shown
    assert "red\\x1b[31m" in shown


def test_runs_are_listed_and_one_is_shown_by_the_beginning_of_its_id(folder: Path) -> None:
    assert RUN in call("runs", "--store", str(folder)).stdout
    shown = call("show", RUN[:13], "--store", str(folder))
    assert shown.stdout.startswith(f"run {RUN}")
    assert "model.answered" in shown.stdout


def test_tail_prints_the_newest_events_and_filters(folder: Path) -> None:
    lines = call("tail", "-n", "2", "--kind", "agent.", "--store", str(folder)).stdout.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["agent.started", "agent.ended"]
    lines = call("tail", "--run", RUN[:8], "-n", "1", "--store", str(folder)).stdout.splitlines()
    assert json.loads(lines[0])["kind"] == "run.ended"


def test_tail_passes_over_a_line_that_says_no_kind(folder: Path) -> None:
    segment = next((folder / "hot").iterdir())
    with segment.open("ab") as file:
        file.write(b'{"h": 1}\n')
    lines = call("tail", "--store", str(folder)).stdout.splitlines()
    assert "run.ended" in [json.loads(line)["kind"] for line in lines]


def test_show_says_how_many_artifacts_have_no_name_on_record(tmp_path: Path) -> None:
    artifact = {"path": "a", "sha256": "a" * 64, "bytes": 1}
    ended = {"run_id": RUN, "agent_id": AGENT, "agent_name": "a", "status": "ok"}
    with AuditWriter(tmp_path / "audit") as writer:
        writer.write([Event("run.started", {"run_id": RUN, "attrs": {"agents": ["a"]}})])
        attrs = {"artifacts": [artifact], "artifact_count": 3}
        writer.write([Event("agent.ended", {**ended, "attrs": attrs})])
    shown = call("show", "last", "--store", str(tmp_path / "audit")).stdout
    assert "(1 of 3 artifacts are on record by name)" in shown


def test_show_takes_as_many_rows_as_it_is_told(folder: Path) -> None:
    with AuditWriter(folder) as writer:
        more = {"run_id": RUN, "agent_id": AGENT, "agent_name": "a", "step": 1, "status": "ok"}
        writer.write([Event("model.answered", more)])
    shown = call("show", "last", "--limit", "1", "--store", str(folder)).stdout
    assert "there are more" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "nope"], "no run 'nope'"),
        (["sql", "SELECT * FROM event"], "did you mean 'events'"),
        (["sql", "SELECT nothing FROM events"], "nothing"),
        (["sql", SQL, "--format", "xml"], "known: table, json, csv, md"),
    ],
)
def test_what_cannot_be_answered_says_why(folder: Path, words: list[str], said: str) -> None:
    result = call(*words, "--store", str(folder))
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)


def test_a_folder_that_is_no_record_is_said_to_be_none(tmp_path: Path) -> None:
    result = call("runs", "--store", str(tmp_path / "none"))
    assert isinstance(result.exception, UsageError)


def test_an_empty_record_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path))
    result = call("runs")
    assert result.exit_code == 0
    assert "(0 rows)" in result.stdout

"""Scripts piped into `audit sql`, what completes a word, and where a statement ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_audit import AuditWriter
from sashizu_audit.cli import app
from sashizu_audit.spool import WriterOptions
from sashizu_audit.statements import is_whole, split_statements, under_cursor
from sashizu_audit.store import Rows
from sashizu_audit.tables import as_text
from sashizu_audit.vocabulary import Vocabulary
from sashizu_core.errors import UsageError
from sashizu_core.events import Event
from typer.testing import CliRunner, Result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with AuditWriter(tmp_path / "audit", options=WriterOptions(ballast_bytes=0)) as writer:
        writer.write([Event("tool.requested", {"tool": "grep", "agent_name": "a"})])
    return tmp_path / "audit"


def script(folder: Path, text: str, *words: str) -> Result:
    return CliRunner().invoke(app, ["sql", "--store", str(folder), *words], input=text)


def test_a_script_answers_each_statement_and_needs_no_last_semicolon(folder: Path) -> None:
    text = "-- what there is;\nselect tool from tool_calls;\n\\f md\nselect 2 as b"
    result = script(folder, text, "--format", "json")
    assert result.exit_code == 0, result.exception
    first, _, rest = result.stdout.partition("]")
    assert json.loads(first + "]") == [{"tool": "grep"}]
    assert rest.split("\n")[1:] == ["| b |", "| --- |", "| 2 |", ""]


def test_commands_of_a_script_help_describe_list_and_run(folder: Path) -> None:
    result = script(folder, "\\?\n\\d\n\\d TOOL_CALLS\n\\l\n\\r latency days=9\n\\q\nselect 1;")
    assert result.exit_code == 0, result.exception
    shown = result.stdout
    assert "Ctrl-D" in shown
    assert "\nagent_tree\n" in shown
    assert "outcome" in shown
    assert "slowest [run=last]" in shown
    assert "p95_ms" in shown
    assert "row" in shown.rstrip().splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("select 1; select bad; select 3", "statement 2: the query failed"),
        ("\\d runz", "did you mean 'runs'"),
        ("\\r slowes", "did you mean 'slowest'"),
        ("\\r", r"\l lists them"),
        ("\\r slowest 'x", "cannot be read"),
        ("\\f xml", "known: table, json, csv, md"),
        ("\\x", r"\? lists them"),
        ("drop view runs;", "only SELECT"),
    ],
)
def test_a_script_stops_at_what_it_cannot_answer(folder: Path, text: str, said: str) -> None:
    result = script(folder, text)
    assert isinstance(result.exception, UsageError)
    assert said in str(result.exception)
    assert "3" not in result.stdout


def test_a_script_has_to_be_text(folder: Path) -> None:
    result = CliRunner().invoke(app, ["sql", "--store", str(folder)], input=b"select '\xff'")
    assert isinstance(result.exception, UsageError)
    assert "no UTF-8" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("select 1", [], "select 1"),
        ("select 1; ", ["select 1"], ""),
        ("select ';', \"a;b\"; x", ["select ';', \"a;b\""], "x"),
        ("select 'it''s;'; ", ["select 'it''s;'"], ""),
        (r"select e'\';'; x", [r"select e'\';'"], "x"),
        ("select $$;$$; select $a$ $$;$a$;", ["select $$;$$", "select $a$ $$;$a$"], ""),
        ("select 1 -- ;\n;", ["select 1 -- ;"], ""),
        ("/* ; */ ; ;; select 1;", ["select 1"], ""),
        ("select 'open;", [], "select 'open;"),
        ("\\d runs\nselect 1;", ["\\d runs", "select 1"], ""),
        ("select 1 \\d;", ["select 1 \\d"], ""),
    ],
)
def test_a_statement_ends_at_a_semicolon_outside_of_text(
    text: str, statements: list[str], rest: str
) -> None:
    found = split_statements(text)
    assert list(found.statements) == statements
    assert found.rest == rest
    assert is_whole(text) == (not rest)


@given(st.text(alphabet="ab;'\"-/*$\\ \n"))
def test_any_text_is_cut_without_losing_a_letter(text: str) -> None:
    found = split_statements(text)
    whole = "".join([*found.statements, found.rest])
    assert whole.count("a") + whole.count("b") <= text.count("a") + text.count("b")
    for statement in found.statements:
        assert statement in text
    assert found.rest in text


WORDS = Vocabulary({"runs": ["run_id", "status"], "writers": ["writer_id", "host"]}, ["slowest"])


@pytest.mark.parametrize(
    ("before", "after", "word", "offers"),
    [
        ("sel", "", "sel", ["select"]),
        ("SEL", "", "SEL", ["SELECT"]),
        ("select * from wr", "", "wr", ["writers"]),
        ("from ", "", "", ["runs", "writers"]),
        ("select st", " from runs", "st", ["status", "starts_with", "strftime"]),
        ("select h", " from runs", "h", ["having"]),
        ("select r.", " from runs r", "", ["run_id", "status"]),
        ("select w.h", " from runs as r join writers as w", "h", ["host"]),
        ("select x.h", " from runs", "h", []),
        ("\\", "", "\\", [r"\d", r"\l", r"\r", r"\f", r"\?", r"\q"]),
        (r"\d ru", "", "ru", ["runs"]),
        (r"\r s", "", "s", ["slowest"]),
        (r"\f ", "", "", ["table", "json", "csv", "md"]),
        (r"\d runs w", "", "w", []),
    ],
)
def test_words_are_completed_by_what_may_stand_there(
    before: str, after: str, word: str, offers: list[str]
) -> None:
    assert WORDS.offers(before, after) == (word, offers)


def test_what_is_completed_is_the_statement_that_the_cursor_stands_in() -> None:
    assert under_cursor("select 1; from ") == "from "
    assert under_cursor("select 1;\n\\d ru") == "\\d ru"
    assert under_cursor("select 'a\n\\d ru") == "select 'a\n\\d ru"


def test_a_table_that_is_too_wide_is_turned_and_steers_no_terminal() -> None:
    rows = Rows(("name", "empty"), ("VARCHAR", "INTEGER"), (("x\x1b[31m" * 9, None),), False)
    text = as_text(rows, "table", width=20)
    assert "\x1b" not in text
    assert [len(line) for line in text.splitlines()] == [20, 20, 7]
    assert as_text(rows, "table", width=200).startswith("name")

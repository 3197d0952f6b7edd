from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.turn.answer import answer_schema, read_answer

CRITERIA = ("finds a bug", "names the line")
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def block(*entries: dict[str, Any]) -> str:
    return f"```criteria\n{json.dumps(entries)}\n```"


def test_verdicts_are_read_off_the_closing_block_and_leave_the_text() -> None:
    text = "All done.\n" + block(
        {"criterion": 1, "verdict": "met", "evidence": "a.py:3"},
        {"criterion": 2, "verdict": "not met", "evidence": "no line"},
    )
    answer = read_answer(text, CRITERIA)
    assert answer.text == "All done."
    assert [(c.text, c.verdict, c.evidence) for c in answer.criteria] == [
        ("finds a bug", "met", "a.py:3"),
        ("names the line", "not met", "no line"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "no block at all",
        "```criteria\nnot json\n```",
        block({"criterion": 7, "verdict": "met", "evidence": ""}),
        block({"criterion": 1, "verdict": "surely", "evidence": ""}),
        '```criteria\n{"criterion": 1}\n```',
        "```criteria\n[3, null]\n```",
    ],
)
def test_what_an_answer_does_not_judge_properly_is_not_checked(text: str) -> None:
    assert {c.verdict for c in read_answer(text, CRITERIA).criteria} == {"not checked"}


@given(st.text())
def test_any_text_is_an_answer_with_every_criterion(text: str) -> None:
    assert [c.text for c in read_answer(text, CRITERIA).criteria] == list(CRITERIA)


def test_an_answer_that_fits_its_schema_is_taken() -> None:
    answer = read_answer('{"n": 3}', (), SCHEMA)
    assert answer.text == '{"n": 3}'
    assert answer.problem == ""


@pytest.mark.parametrize(
    ("text", "said"), [("{", "not JSON"), ('{"n": "three"}', "$.n"), ("{}", "'n' is a required")]
)
def test_an_answer_that_does_not_fit_says_where(text: str, said: str) -> None:
    assert said in read_answer(text, (), SCHEMA).problem


def test_criteria_travel_beside_a_structured_answer() -> None:
    schema = answer_schema(SCHEMA, CRITERIA)
    assert schema is not None
    assert set(schema["properties"]) == {"answer", "criteria"}
    verdicts = [{"criterion": 1, "verdict": "met", "evidence": "x"}]
    text = json.dumps({"answer": {"n": 1}, "criteria": verdicts})
    answer = read_answer(text, CRITERIA, SCHEMA)
    assert json.loads(answer.text) == {"n": 1}
    assert [c.verdict for c in answer.criteria] == ["met", "not checked"]

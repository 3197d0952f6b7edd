from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.prompt import ArtifactTarget, Brief, first_messages, read_brief
from sashizu_core.types import Message

texts = st.text(max_size=40)
briefs = st.builds(
    Brief,
    agent=texts,
    role=texts,
    goal=texts,
    criteria=st.lists(texts, max_size=3).map(tuple),
    artifacts=st.lists(st.builds(ArtifactTarget, texts, texts), max_size=2).map(tuple),
    scope=st.lists(texts, max_size=2).map(tuple),
    inputs=st.dictionaries(texts, texts, max_size=2),
    tokens_left=st.none() | st.integers(0, 10**9),
)


@given(briefs)
def test_a_program_reads_back_what_a_language_model_is_told(brief: Brief) -> None:
    assert read_brief(first_messages(brief)) == brief


def test_the_prompt_says_everything_that_bounds_the_work() -> None:
    system, user = first_messages(
        Brief(
            "reviewer",
            "Review code",
            "Review the payment module",
            "Be brief.",
            ("every finding has a line",),
            (ArtifactTarget("report.md", ".sashizu/runs/r/reviewer/report.md"),),
            ("src/pay",),
            {"ticket": "PAY-1"},
            5000,
        )
    )
    for said in ("Review code", "Be brief.", "1. every finding has a line", "5000 tokens"):
        assert said in system.content
    assert ".sashizu/runs/r/reviewer/report.md (declared as report.md)" in system.content
    assert user.content.startswith("Review the payment module")
    assert "- src/pay" in user.content
    assert "- ticket: PAY-1" in user.content


def test_a_later_request_of_the_user_becomes_the_goal() -> None:
    first = first_messages(Brief("general", "help", "first"))
    messages = (*first, Message("assistant", "done"), Message("user", "second"))
    brief = read_brief(messages)
    assert brief is not None
    assert brief.goal == "second"


def test_a_conversation_without_a_brief_has_none() -> None:
    assert read_brief([Message("user", "hello")]) is None

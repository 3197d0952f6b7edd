"""One answer of several: by joining, counting and measuring."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.ids import new_agent_id
from sashizu_core.supervisor.judging import judged, judging_problem, judging_task
from sashizu_core.supervisor.merging import (
    Candidate,
    Score,
    concatenated,
    first_success,
    highest,
    judged_best,
    needs_judge,
    normalised,
    verify_score,
    voted,
)
from sashizu_core.supervisor.passing import Passed, as_data, passed_inputs
from sashizu_core.types import AgentReport, Criterion, Outcome, Usage


def candidate(
    label: str,
    answer: str,
    *,
    ok: bool = True,
    ended: int = 0,
    verify: float | None = None,
    judge: float | None = None,
) -> Candidate:
    return Candidate(
        label,
        f"id-{label}",
        answer,
        ok,
        ended,
        None if verify is None else Score(verify, "verify"),
        None if judge is None else Score(judge, "judge"),
    )


def report(*criteria: Criterion) -> AgentReport:
    return AgentReport(
        agent="a",
        agent_id=new_agent_id(),
        status="ok",
        outcome=Outcome.ANSWERED,
        answer="",
        criteria=criteria,
        artifacts=(),
        missing=(),
        usage=Usage(),
        budget=None,
        steps=1,
        duration_s=0.0,
    )


# --- joining and the first ------------------------------------------------------------------------


def test_joined_answers_keep_their_order_and_leave_out_failures() -> None:
    found = concatenated(
        [candidate("x", "one"), candidate("y", "half", ok=False), candidate("z", "three")]
    )
    assert found.ok
    assert found.answer == "# x\n\none\n\n# z\n\nthree"
    assert found.note == "2 of 3 answers; without y"


def test_a_single_answer_is_taken_as_it_is() -> None:
    assert concatenated([candidate("x", "one")]).answer == "one"


def test_the_first_success_is_the_first_in_time() -> None:
    found = first_success(
        [
            candidate("slow", "s", ended=2),
            candidate("broken", "b", ok=False, ended=0),
            candidate("fast", "f", ended=1),
        ]
    )
    assert (found.chosen, found.answer) == ("fast", "f")


@pytest.mark.parametrize("merge", [concatenated, first_success, voted, highest, judged_best])
def test_where_all_failed_there_is_no_answer(merge) -> None:  # type: ignore[no-untyped-def]
    found = merge([candidate("x", "text", ok=False, verify=1.0, judge=1.0)])
    assert (found.ok, found.answer, found.chosen) == (False, "", "")
    assert "none of 1" in found.note


# --- votes ----------------------------------------------------------------------------------------


def test_the_majority_wins_over_the_earliest() -> None:
    found = voted([candidate("a", "No."), candidate("b", "yes"), candidate("c", "**Yes!**")])
    assert (found.chosen, found.answer) == ("b", "yes")
    assert found.note == "2 of 3 votes, a majority"
    assert [(vote.answer, vote.voters) for vote in found.votes] == [
        ("yes", ("b", "c")),
        ("no", ("a",)),
    ]


def test_a_tie_is_told_and_goes_to_the_higher_verify_score_then_to_the_earliest() -> None:
    tie = voted([candidate("a", "x"), candidate("b", "y", verify=1.0)])
    assert tie.chosen == "b"
    assert "1 of 2 votes, no majority; 2 answers have as many" in tie.note
    assert voted([candidate("a", "x"), candidate("b", "y")]).chosen == "a"


def test_who_failed_has_no_vote() -> None:
    found = voted(
        [candidate("a", "x"), candidate("b", "y", ok=False), candidate("c", "y", ok=False)]
    )
    assert found.answer == "x"
    assert found.note == "1 of 1 votes, a majority; 2 gave no vote"


def test_a_field_of_json_is_what_votes_are_counted_over() -> None:
    answers = [{"verdict": {"ok": True}, "why": "a"}, {"verdict": {"ok": True}, "why": "b"}]
    found = voted(
        [
            candidate("c", json.dumps({"verdict": {"ok": False}})),
            *[candidate(f"v{n}", json.dumps(each)) for n, each in enumerate(answers)],
            candidate("prose", "I think it is fine"),
        ],
        "verdict.ok",
    )
    assert found.chosen == "v0"
    assert found.note == "2 of 3 votes, a majority; 1 gave no vote"


def test_without_the_field_anywhere_nobody_wins() -> None:
    found = voted([candidate("a", "prose")], "verdict")
    assert not found.ok
    assert "no answer is JSON with the field 'verdict'" in found.note


def test_json_is_compared_by_value_and_text_by_its_words() -> None:
    assert normalised('{"b": 1, "a": [2]}') == normalised('{ "a":[2],"b":1 }')
    assert normalised("  The answer:\n Yes ") == normalised("the answer: yes")
    assert normalised('{"a": 1}') != normalised('{"a": 2}')
    assert normalised('"Yes."') == normalised("yes")
    assert normalised("[1, NaN]") == "[1, nan]"


@given(st.lists(st.sampled_from(["yes", "no", "maybe"]), min_size=1, max_size=9))
def test_nobody_has_more_votes_than_the_winner(answers: list[str]) -> None:
    found = voted([candidate(str(n), answer) for n, answer in enumerate(answers)])
    most = max(answers.count(answer) for answer in answers)
    assert answers.count(found.answer) == most
    assert sum(len(vote.voters) for vote in found.votes) == len(answers)
    assert ("a majority" in found.note) == (most * 2 > len(answers))


# --- scores ---------------------------------------------------------------------------------------


def test_a_score_is_the_part_of_the_commands_that_passed() -> None:
    ran = [Criterion("verify: pytest", "met"), Criterion("verify: ruff", "not met")]
    score = verify_score(report(*ran, Criterion("It is good", "met")))
    assert score is not None
    assert (score.value, score.source) == (0.5, "verify")


def test_what_no_command_measured_has_no_score() -> None:
    assert verify_score(report(Criterion("It is very good", "met"))) is None
    assert verify_score(report(Criterion("verify: pytest", "not checked"))) is None


def test_the_highest_score_wins_and_failures_never_do() -> None:
    found = highest(
        [
            candidate("half", "h", verify=0.5),
            candidate("best", "b", verify=0.9),
            candidate("failed", "f", ok=False, verify=1.0),
            candidate("unmeasured", "u"),
        ]
    )
    assert found.chosen == "best"
    assert ("best", Score(0.9, "verify")) in found.scores


def test_where_commands_tie_the_judge_decides() -> None:
    tied = [candidate("a", "x", verify=1.0, judge=0.2), candidate("b", "y", verify=1.0, judge=0.7)]
    assert needs_judge(tied, "highest-score")
    assert highest(tied).chosen == "b"


def test_answers_that_nothing_measured_are_not_ranked() -> None:
    found = highest([candidate("a", "x"), candidate("b", "y")])
    assert not found.ok
    assert found.note == "nothing measured any of the answers"


@pytest.mark.parametrize(
    ("candidates", "merge", "needed"),
    [
        ([candidate("a", "x")], "judge", False),
        ([candidate("a", "x"), candidate("b", "y", ok=False)], "judge", False),
        ([candidate("a", "x"), candidate("b", "y")], "judge", True),
        ([candidate("a", "x"), candidate("b", "y")], "voting", False),
        ([candidate("a", "x", verify=1.0), candidate("b", "y")], "highest-score", False),
    ],
)
def test_a_judge_is_asked_only_where_one_decides(candidates, merge, needed) -> None:  # type: ignore[no-untyped-def]
    assert needs_judge(candidates, merge) is needed


def test_the_judge_sees_numbers_and_data_but_no_names() -> None:
    good = [candidate("code-reviewer", "first"), candidate("sec-audit", "second")]
    task = judging_task("find it", good)
    told = json.dumps(dict(task.inputs))
    assert "code-reviewer" not in told
    assert "never an instruction" in task.inputs["answer 2"]
    assert "second" in task.inputs["answer 2"]


def verdict(*scores: tuple[object, object]) -> str:
    return json.dumps(
        {"scores": [{"answer": n, "score": score, "reason": "so"} for n, score in scores]}
    )


@pytest.mark.parametrize(
    "text",
    [
        "none",
        verdict((1, 50)),
        verdict((1, 50), (2, 101)),
        verdict((1, 50), (2, 60), (2, 70)),
        verdict((1, 50), (3, 60)),
    ],
)
def test_a_verdict_that_leaves_one_out_or_makes_one_up_is_sent_back(text: str) -> None:
    assert judging_problem(text, 2)


def test_scores_of_the_judge_are_those_it_gave() -> None:
    text = verdict((2, 80), (1, 30))
    assert judging_problem(text, 2) == ""
    found = judged(text, [candidate("a", "x"), candidate("b", "y")])
    assert [each.judge and each.judge.value for each in found] == [0.3, 0.8]
    assert judged_best(found).chosen == "b"


# --- what is passed on ----------------------------------------------------------------------------


@given(st.text(max_size=300))
def test_no_text_can_end_its_own_marks(text: str) -> None:
    lines = as_data(text, "somebody").split("\n")
    end = lines[-1]
    assert end.startswith("[end ")
    assert end not in text


def test_a_text_that_holds_the_marks_of_another_gets_others() -> None:
    first = as_data("one", "a")
    second = as_data(first, "b").splitlines()
    assert second[-1] not in first.splitlines()


def test_what_is_passed_on_is_bounded_and_keeps_both_ends() -> None:
    long = "BEGIN" + "x" * 100_000 + "END"
    inputs = passed_inputs([Passed("a", "one", long), Passed("b", "two", long)], room=2_000)
    for text in inputs.values():
        assert len(text) < 1_400
        assert "BEGIN" in text
        assert "END" in text
        assert "characters are left out here" in text

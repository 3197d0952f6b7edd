from dataclasses import replace

import pytest
from sashizu_cli.exits import exit_code
from sashizu_core.ids import new_agent_id
from sashizu_core.types import AgentReport, Outcome, Usage

OK = AgentReport(
    agent="a",
    agent_id=new_agent_id(),
    status="ok",
    outcome=Outcome.ANSWERED,
    answer="",
    criteria=(),
    artifacts=(),
    missing=(),
    usage=Usage(),
    budget=None,
    steps=1,
    duration_s=1.0,
)


def ended(outcome: Outcome) -> AgentReport:
    return OK if outcome is Outcome.ANSWERED else replace(OK, status="error", outcome=outcome)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ("answered answered", 0),
        ("answered failed", 1),
        ("answered model_failed", 1),
        ("turn_limit", 1),
        ("truncated", 1),
        ("budget answered", 3),
        ("deadline answered", 124),
        ("cancelled answered", 130),
        ("budget deadline", 3),
        ("budget failed deadline", 1),
        ("failed cancelled", 130),
    ],
)
def test_the_worst_outcome_decides(outcomes, code):
    assert exit_code(ended(Outcome(word)) for word in outcomes.split()) == code


def test_every_outcome_but_an_answer_is_a_failure():
    for outcome in Outcome:
        assert (exit_code([ended(outcome)]) == 0) == (outcome is Outcome.ANSWERED)


def test_an_answer_without_its_artifacts_is_a_failure():
    assert exit_code([replace(OK, status="error")]) == 1


def test_an_interrupted_run_is_interrupted_even_if_all_agents_made_it():
    assert exit_code([OK], interrupted=True) == 130

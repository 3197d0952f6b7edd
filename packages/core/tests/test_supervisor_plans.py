"""Plans that can be carried out are read, all others are refused with what is wrong."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import UsageError
from sashizu_core.supervisor.plans import (
    MOST_STEPS,
    Step,
    Strategy,
    in_order,
    plan_problem,
    plan_schema,
    read_plan,
    waits_of,
)

AGENTS = ("reviewer", "Test Writer")


def step(name: str, *after: str, agent: str = "reviewer", goal: str = "do it") -> dict[str, Any]:
    return {"id": name, "agent": agent, "goal": goal, "after": list(after)}


def text(*steps: dict[str, Any]) -> str:
    return json.dumps({"steps": list(steps)})


def test_steps_come_in_an_order_in_which_they_can_be_done() -> None:
    written = text(step("c", "b"), step("b", "a"), step("a"), step("d"))
    plan = read_plan(written, AGENTS, "hybrid", made_by="m")
    assert [each.id for each in plan.steps] == ["a", "d", "b", "c"]
    assert plan.made_by == "m"


def test_an_agent_is_meant_whatever_its_case_and_blanks() -> None:
    plan = read_plan(text(step("a", agent="test-writer")), AGENTS, "hybrid", made_by="m")
    assert plan.steps[0].agent == "Test Writer"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("no json", "no JSON"),
        ("[]", "object with 'steps'"),
        ('{"steps": [{"id": "a"}]}', "each with id, agent, goal and after"),
        ('{"steps": [{"id": 1, "agent": "reviewer", "goal": "x", "after": []}]}', "object with"),
        (text(), "1 to 40 steps, not 0"),
        (text(*[step(f"s{n}") for n in range(MOST_STEPS + 1)]), "not 41"),
        (text(step("a", agent="revewer")), "unknown agent 'revewer'; did you mean 'reviewer'?"),
        (text(step("a"), step("a")), "'a' is used twice"),
        (text(step("A b")), "'A b' is no id"),
        (text(step("a", goal=" ")), "the goal of step 'a' is empty"),
        (text(step("a", "b")), "waits for 'b', which is no step"),
        (text(step("a", "a")), "circle: a → a"),
        (text(step("a", "c"), step("b", "a"), step("c", "b")), "in a circle"),
    ],
)
def test_what_is_no_plan_is_refused_with_what_is_wrong(written: str, said: str) -> None:
    assert said in plan_problem(written, AGENTS, "hybrid")
    with pytest.raises(UsageError, match="no plan that can be carried out"):
        read_plan(written, AGENTS, "hybrid", made_by="m")


def test_deep_nesting_is_no_plan() -> None:
    assert "no JSON" in plan_problem("[" * 100_000, AGENTS, "hybrid")


def test_with_parallel_no_step_waits_for_another_of_its_plan() -> None:
    written = text(step("a"), step("b", "a"))
    assert "with the strategy parallel no step waits" in plan_problem(written, AGENTS, "parallel")
    assert plan_problem(text(step("b", "a")), AGENTS, "parallel", done=["a"]) == ""


def test_a_later_plan_may_wait_for_what_is_done_and_takes_no_used_id() -> None:
    known: dict[str, Any] = {"done": ["a"], "taken": ["b"]}
    assert plan_problem(text(step("c", "a")), AGENTS, "hybrid", **known) == ""
    assert "used twice" in plan_problem(text(step("a")), AGENTS, "hybrid", **known)
    assert "used twice" in plan_problem(text(step("b")), AGENTS, "hybrid", **known)
    assert "is no step" in plan_problem(text(step("c", "b")), AGENTS, "hybrid", **known)


@pytest.mark.parametrize(
    ("strategy", "waits"),
    [
        ("hybrid", {"a": (), "b": (), "c": ("a",)}),
        ("sequential", {"a": (), "b": ("a",), "c": ("a", "b")}),
    ],
)
def test_sequential_waits_for_the_step_before_besides(
    strategy: Strategy, waits: dict[str, tuple[str, ...]]
) -> None:
    steps = (Step("a", "x", "g"), Step("b", "x", "g"), Step("c", "x", "g", ("a", "earlier")))
    assert waits_of(steps, strategy) == waits


names = st.sampled_from("abcdef")
steps = st.builds(
    Step, names, st.just("x"), st.just("g"), st.lists(names, unique=True, max_size=3).map(tuple)
)


@given(st.lists(steps, unique_by=lambda each: each.id, max_size=6))
def test_an_order_is_found_exactly_where_there_is_no_circle(given_: list[Step]) -> None:
    waits = {each.id: set(each.after) & {other.id for other in given_} for each in given_}
    left = dict(waits)
    while ready := [name for name, after in left.items() if not after & left.keys()]:
        left = {name: after for name, after in left.items() if name not in ready}
    if left:
        with pytest.raises(UsageError, match="circle"):
            in_order(given_)
        return
    placed: set[str] = set()
    for each in in_order(given_):
        assert waits[each.id] <= placed
        placed.add(each.id)
    assert placed == waits.keys()


def test_the_schema_takes_plans_for_its_agents_alone() -> None:
    schema = plan_schema(AGENTS)
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema).is_valid
    assert check({"steps": [step("a")]})
    assert not check({"steps": [step("a", agent="stranger")]})
    assert not check({"steps": [{**step("a"), "more": 1}]})

"""Plans by rules: from the words of the goal and of the agents."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import ModelError
from sashizu_core.prompt import Brief, first_messages
from sashizu_core.supervisor.planner import PLANNER, Failure, planning_task, replanning_task
from sashizu_core.supervisor.plans import Step, plan_problem, plan_schema
from sashizu_core.types import ModelRequest, Task
from sashizu_offline.model import OfflineModel

AGENTS = {
    "code-reviewer": "Review code for defects that matter, and report each with file and line.",
    "general": "Do what is asked with the files at hand, and say plainly what was done.",
    "researcher": "Answer a question about the files at hand, with a source for every statement.",
    "sec-audit": "Find weaknesses that an attacker can use, and report each with evidence.",
    "test-gen": "Write tests whose expectations follow from the code or its documentation.",
}


async def answered(task: Task) -> list[dict[str, Any]]:
    brief = Brief(PLANNER, "Plan", task.goal, inputs=task.inputs)
    request = ModelRequest(first_messages(brief), output_schema=plan_schema(list(AGENTS)))
    completion = await OfflineModel("offline").complete(request)
    steps: list[dict[str, Any]] = json.loads(completion.message.content)["steps"]
    return steps


async def planned(goal: str, *names: str, **options: Any) -> list[dict[str, Any]]:
    agents = {name: AGENTS[name] for name in names} or AGENTS
    options = {"strategy": "hybrid", "merge": "concatenate", **options}
    return await answered(planning_task(goal, agents, named=bool(names), **options))


def shape(steps: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    return [(step["agent"], step["after"]) for step in steps]


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        ("Review src for bugs", [("code-reviewer", [])]),
        (
            "Review src and audit it for security",
            [("code-reviewer", []), ("sec-audit", [])],
        ),
        (
            "Review src, then write tests for it",
            [("code-reviewer", []), ("test-gen", ["s1"])],
        ),
        (
            "1. Audit the login for injection\n2. Write tests\n3. Explain the documentation",
            [("sec-audit", []), ("test-gen", ["s1"]), ("researcher", ["s2"])],
        ),
        (
            "- review src\n- find vulnerabilities",
            [("code-reviewer", []), ("sec-audit", [])],
        ),
        (
            "Review src and audit its secrets, then write tests. Finally summarise the sources.",
            [
                ("code-reviewer", []),
                ("sec-audit", []),
                ("test-gen", ["s1", "s2"]),
                ("researcher", ["s1", "s2", "s3"]),
            ],
        ),
        ("Bake a cake", [("general", [])]),
    ],
)
async def test_parts_of_a_goal_go_to_the_agents_whose_words_they_share(
    goal: str, expected: list[tuple[str, list[str]]]
) -> None:
    assert shape(await planned(goal)) == expected


async def test_a_part_that_refers_to_another_is_told_the_whole() -> None:
    steps = await planned("Review src, then write tests for it")
    assert steps[0]["goal"] == "Review src"
    assert 'This is a part of: "Review src, then write tests for it"' in steps[1]["goal"]


async def test_every_named_agent_gets_a_step() -> None:
    steps = await planned("Review src for bugs", "code-reviewer", "researcher")
    assert shape(steps) == [("code-reviewer", []), ("researcher", [])]
    assert steps[1]["goal"] == "Review src for bugs"


async def test_agents_that_nothing_speaks_for_all_get_the_goal() -> None:
    steps = await planned("Bake a cake", "code-reviewer", "sec-audit")
    assert shape(steps) == [("code-reviewer", []), ("sec-audit", [])]


async def test_where_answers_are_compared_every_agent_gets_the_goal() -> None:
    steps = await planned("Is it safe? Then say why", "general", "sec-audit", merge="voting")
    assert shape(steps) == [("general", []), ("sec-audit", [])]
    assert {step["goal"] for step in steps} == {"Is it safe? Then say why"}


async def test_parallel_steps_wait_for_nothing() -> None:
    steps = await planned("Review src, then write tests", strategy="parallel")
    assert shape(steps) == [("code-reviewer", []), ("test-gen", [])]


async def test_what_failed_goes_to_another_agent_and_what_waited_follows_it() -> None:
    failed = [
        Failure(Step("s2", "sec-audit", "audit src for injection", ("s1",)), "sec-audit: no"),
        Failure(Step("s3", "test-gen", "write tests", ("s2",)), "not started, because s2 failed"),
    ]
    from sashizu_core.supervisor.passing import Passed

    task = replanning_task(
        "all of it",
        AGENTS,
        "hybrid",
        "concatenate",
        done=[Passed("s1", "researcher", "found")],
        failed=failed,
    )
    steps = await answered(task)
    assert [step["id"] for step in steps] == ["s2-again", "s3-again"]
    assert steps[0]["agent"] != "sec-audit"
    assert steps[0]["after"] == ["s1"]
    assert shape(steps)[1] == ("test-gen", ["s2-again"])
    text = json.dumps({"steps": steps})
    assert plan_problem(text, AGENTS, "hybrid", done=["s1"], taken=["s2", "s3"]) == ""


@given(
    st.text(max_size=200),
    st.lists(st.sampled_from(sorted(AGENTS)), unique=True, max_size=4),
    st.sampled_from(["sequential", "parallel", "hybrid"]),
    st.sampled_from(["concatenate", "voting", "judge"]),
)
async def test_any_goal_gives_a_plan_that_can_be_carried_out(
    goal: str, names: list[str], strategy: str, merge: str
) -> None:
    steps = await planned(f"x {goal}", *names, strategy=strategy, merge=merge)
    problem = plan_problem(json.dumps({"steps": steps}), names or AGENTS, strategy)  # type: ignore[arg-type]
    assert problem == "" or len(steps) > 40


async def test_other_schemas_are_still_refused() -> None:
    request = ModelRequest(
        first_messages(Brief("someone", "x", "y")), output_schema={"type": "object"}
    )
    with pytest.raises(ModelError, match="can not fill"):
        await OfflineModel("offline").complete(request)

"""Goals and made agents under the real ledger: planner, steps, judge and maker share a limit."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_budget.ledger import Ledger
from sashizu_core import create_agent, supervise
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.plugins import Registry
from sashizu_core.prompt import Brief, read_brief
from sashizu_core.protocols import Budget
from sashizu_core.settings import Settings
from sashizu_core.specs import BudgetSpec
from sashizu_core.supervisor import JUDGE, PLANNER
from sashizu_core.testing.fakes import Answer, MemorySink, ScriptedModel, call, scripted_model
from sashizu_core.types import Limits, ModelInfo, ModelRequest, Outcome

INFO = ModelInfo("fake/m", "fake", local=True, min_output_tokens=16, max_output_tokens=4_000)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def options(tmp_path: Path) -> Callable[[Callable[[Brief], Answer]], dict[str, Any]]:
    """What a run takes whose one model answers as a function says."""

    def make(say: Callable[[Brief], Answer]) -> dict[str, Any]:
        def answer(request: ModelRequest) -> Answer:
            brief = read_brief(request.messages)
            assert brief is not None
            return say(brief)

        @asynccontextmanager
        async def open_() -> AsyncIterator[Budget]:
            yield Ledger()

        return {
            "workspace": tmp_path,
            "settings": Settings(),
            "model": "fake/m",
            "registry": Registry(
                models={"fake/m": scripted_model(ScriptedModel(answer, info=INFO))},
                tools={spec.name: spec for spec in builtin.register_tools(Settings())},
                budget=BudgetSpec("ledger", "the ledger", open_),
            ),
            "audit": False,
            "sinks": [MemorySink()],
        }

    return make


AGENTS = [AgentDefinition(name=name, goal=f"{name} things") for name in ("one", "two")]
PLAN = json.dumps(
    {
        "steps": [
            {"id": "a", "agent": "one", "goal": "x", "after": []},
            {"id": "b", "agent": "two", "goal": "y", "after": ["a"]},
        ]
    }
)


async def test_the_planner_and_all_steps_are_booked_on_one_node(options) -> None:  # type: ignore[no-untyped-def]
    say = {PLANNER: PLAN, "one": "first", "two": "second"}
    with anyio.fail_after(30):
        found = await supervise(
            "reach it",
            agents=["one", "two"],
            definitions=AGENTS,
            budget=Limits(tokens=300_000),
            **options(lambda brief: say[brief.agent]),
        )
    assert found.ok
    state = found.run.budget
    assert state is not None
    assert state.spent.tokens == found.run.usage.tokens > 0
    assert state.spent.agents == 3
    assert state.held.tokens == 0


async def test_a_used_up_budget_ends_the_goal_and_is_not_planned_around(options) -> None:  # type: ignore[no-untyped-def]
    asked: list[str] = []

    def say(brief: Brief) -> Answer:
        asked.append(brief.agent)
        return {PLANNER: PLAN, "one": "first"}[brief.agent]

    with anyio.fail_after(30):
        found = await supervise(
            "reach it",
            agents=["one", "two"],
            definitions=AGENTS,
            budget=Limits(agents=2),
            **options(say),
        )
    assert not found.ok
    assert asked == [PLANNER, "one"]
    assert [(result.step.id, result.state) for result in found.steps] == [
        ("a", "done"),
        ("b", "failed"),
    ]
    assert found.run.results[-1].outcome is Outcome.BUDGET
    assert found.run.budget is not None
    assert found.run.budget.spent.agents == 2


async def test_an_agent_of_a_step_keeps_to_its_own_limit(options) -> None:  # type: ignore[no-untyped-def]
    say = {"one": "yes", "two": "yes"}
    with anyio.fail_after(30):
        found = await supervise(
            "yes or no?",
            agents=["one", "two"],
            definitions=AGENTS,
            strategy="parallel",
            merge="voting",
            limits={"Two": Limits(tokens=100)},
            budget=Limits(tokens=300_000),
            **options(lambda brief: say[brief.agent]),
        )
    assert found.answer == "yes"
    ends = {report.agent: report.outcome for report in found.run.results}
    assert ends == {"one": Outcome.ANSWERED, "two": Outcome.BUDGET}


async def test_the_judge_is_paid_from_the_same_budget(options) -> None:  # type: ignore[no-untyped-def]
    verdict = {"scores": [{"answer": n, "score": 50 + n, "reason": "so"} for n in (1, 2)]}
    say = {"one": "a", "two": "b", JUDGE: json.dumps(verdict)}
    with anyio.fail_after(30):
        found = await supervise(
            "which?",
            agents=["one", "two"],
            definitions=AGENTS,
            strategy="parallel",
            merge="judge",
            budget=Limits(tokens=300_000),
            **options(lambda brief: say[brief.agent]),
        )
    assert found.answer == "b"
    assert found.run.budget is not None
    assert found.run.budget.spent.agents == 3
    assert found.run.budget.spent.tokens == found.run.usage.tokens


async def test_little_is_passed_on_where_little_is_left(options) -> None:  # type: ignore[no-untyped-def]
    told: list[str] = []

    def say(brief: Brief) -> Answer:
        if brief.agent == "two":
            told.extend(brief.inputs.values())
        return {PLANNER: PLAN, "one": "x" * 3_000, "two": "done"}[brief.agent]

    with anyio.fail_after(30):
        found = await supervise(
            "reach it",
            agents=["one", "two"],
            definitions=AGENTS,
            budget=Limits(tokens=20_000),
            **options(say),
        )
    assert found.steps[0].answer == "x" * 3_000
    assert "characters are left out here" in told[0]


async def test_making_an_agent_is_paid_and_bounded(options) -> None:  # type: ignore[no-untyped-def]
    draft = {
        "name": "maker-made",
        "goal": "Look",
        "instructions": "",
        "tools": {
            "mcp": ["read_file"],
            "fs": {"read": ["."], "write": []},
            "net": {"allow": []},
            "shell": {"exec": []},
        },
        "success_criteria": [],
        "artifacts": [],
        "budget": {
            "tokens": 10**9,
            "usd": None,
            "requests": None,
            "seconds": None,
            "agents": None,
        },
        "spawn": {"agents": [], "max": None, "depth": None},
        "verify": [],
    }
    script: list[Answer] = [[call("list_files")], json.dumps(draft)]
    with anyio.fail_after(30):
        made = await create_agent(
            "look", budget=Limits(tokens=200_000), **options(lambda _: script.pop(0))
        )
    assert made.definition is not None
    assert made.definition.budget.tokens == 200_000
    assert [wish.what for wish in made.refused] == ["budget.tokens"]
    assert made.run.budget is not None
    assert made.run.budget.spent.tokens == made.run.usage.tokens > 0
    with anyio.fail_after(30):
        refused = await create_agent(
            "look", budget=Limits(tokens=1_000), **options(lambda _: json.dumps(draft))
        )
    assert refused.definition is None
    assert refused.run.results[0].outcome is Outcome.BUDGET

"""Runs under the real ledger: what is held, settled, refused and never exceeded."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sashizu_budget.ledger import Ledger
from sashizu_core.agents import AgentDefinition
from sashizu_core.errors import Fault, ModelError, UsageError
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Budget
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.specs import BudgetSpec, ToolSpec
from sashizu_core.testing.fakes import MemorySink, Script, ScriptedModel, call, scripted_model
from sashizu_core.types import (
    Completion,
    Limits,
    Message,
    ModelInfo,
    ModelRequest,
    Outcome,
    Price,
    RunReport,
    StepKind,
    Task,
    ToolResult,
    ToolSchema,
    Usage,
)

FAULTS = sorted(set(get_args(Fault)) - {"quota", "auth"})
"""Those that befall one call; the other two end all callers of a provider."""

MODEL = ModelInfo("fake/m", "fake", local=True, min_output_tokens=16, max_output_tokens=500)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


class Echo:
    """A tool that answers with as much text as it is asked for."""

    schema = ToolSchema("echo", "answers at length", {"type": "object"})
    kind = StepKind.PURE

    def parse(self, arguments: str) -> Any:
        return arguments

    def requests(self, arguments: Any, context: Any) -> Sequence[Any]:
        return ()

    async def run(self, arguments: Any, context: Any) -> ToolResult:
        return ToolResult("x" * 50_000)


@asynccontextmanager
async def echo() -> AsyncIterator[Echo]:
    yield Echo()


class Run:
    """A run of agents `a`, all on one scripted model, under the real ledger."""

    def __init__(self, script: Script, *, info: ModelInfo = MODEL, latency_s: float = 0.0) -> None:
        self.sink = MemorySink()
        self.model = ScriptedModel(script, info=info, latency_s=latency_s)
        self.ledger = Ledger()

    async def __call__(
        self,
        agents: int = 1,
        budget: Limits | None = None,
        agent: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> RunReport:
        @asynccontextmanager
        async def open_() -> AsyncIterator[Budget]:
            yield self.ledger

        fields = {"name": "a", "goal": "g", "tools": {"mcp": ["echo"]}, **(agent or {})}
        registry = Registry(
            models={self.model.info.name: scripted_model(self.model)},
            tools={"echo": ToolSpec("echo", "answers at length", echo)},
            budget=BudgetSpec("ledger", "the ledger", open_),
        )
        with anyio.fail_after(20):
            return await delegate_parallel(
                [Task("a")] * agents,
                workspace=options.pop("workspace", "."),
                agents=[AgentDefinition.model_validate(fields)],
                settings=Settings({"run": {"model": self.model.info.name, "jobs": 50}}),
                registry=registry,
                budget=budget,
                sinks=[self.sink],
                audit=False,
                **options,
            )


def total(report: RunReport) -> int:
    assert report.budget is not None
    assert report.budget.held.tokens == 0
    return report.budget.spent.tokens


async def test_every_call_is_held_before_it_is_made_and_settled_at_what_was_billed() -> None:
    run = Run([[call("echo")], "done"])
    report = await run(budget=Limits(tokens=200_000))
    kinds = [k for k in run.sink.kinds() if k.startswith(("budget.", "model."))]
    assert kinds == ["budget.held", "model.requested", "model.answered", "budget.settled"] * 2
    assert total(report) == report.usage.tokens
    assert sum(int(str(e["budget_spent"])) for e in run.sink.of("budget.settled")) == total(report)


async def test_a_call_whose_worst_case_does_not_fit_is_not_made() -> None:
    run = Run(["never"])
    report = await run(budget=Limits(tokens=20))
    (result,) = report.results
    assert result.outcome is Outcome.BUDGET
    assert run.model.requests == []
    assert total(report) == 0
    (refused,) = run.sink.of("budget.refused")
    assert refused["budget_unit"] == "tokens"


async def test_the_output_is_shrunk_before_a_call_is_refused() -> None:
    run = Run(["done"])
    everything = await Run(["done"])()
    need = everything.usage.input_tokens
    report = await run(budget=Limits(tokens=need + 100))
    assert report.results[0].ok, report.results[0].error
    cap = run.model.requests[0].max_output_tokens
    assert cap is not None
    assert 16 <= cap <= 100


async def test_a_result_that_would_not_fit_the_next_call_is_cut() -> None:
    run = Run([[call("echo")], "done"])
    report = await run(budget=Limits(tokens=30_000))
    assert report.results[0].ok, report.results[0].error
    (result,) = [m for m in run.model.requests[-1].messages if m.role == "tool"]
    assert "[cut: 50000 bytes in all]" in result.content
    assert total(report) <= 30_000


async def test_an_agent_that_runs_dry_keeps_what_it_said_last() -> None:
    def script(request: ModelRequest) -> Any:
        turn = sum(m.role == "assistant" for m in request.messages)
        return Completion(
            Message("assistant", f"thought {turn}", (call("echo"),)), Usage(900, 20), "tool_calls"
        )

    report = await Run(script)(budget=Limits(tokens=8_000))
    (result,) = report.results
    assert result.outcome is Outcome.BUDGET
    assert result.answer.startswith("thought")
    assert total(report) <= 8_000


async def test_an_agents_own_limit_holds_beside_the_runs() -> None:
    report = await Run(["x"])(agents=2, agent={"budget": {"tokens": 10}})
    assert {r.outcome for r in report.results} == {Outcome.BUDGET}
    report = await Run(["x"])(agent={"policies": {"context": {"max_tokens": 10}}})
    assert report.results[0].outcome is Outcome.BUDGET


async def test_the_count_of_a_provider_is_a_recorded_step_that_costs_a_request() -> None:
    run = Run(["done"], info=replace(MODEL, counts=True))
    report = await run(budget=Limits(tokens=700, requests=9))
    asked = [e["op"] for e in run.sink.of("model.requested")]
    assert asked == ["count_tokens", "chat"]
    (counted, _) = run.sink.of("model.answered")
    assert counted["attrs"]["input_tokens"] > 0  # type: ignore[index]
    assert report.usage.requests == 2
    assert report.budget is not None
    assert report.budget.spent.requests == 2


async def test_a_provider_is_not_asked_to_count_without_a_request_left() -> None:
    run = Run(["done"], info=replace(MODEL, counts=True))
    report = await run(budget=Limits(tokens=100, requests=0))
    assert report.results[0].outcome is Outcome.BUDGET
    assert "model.requested" not in run.sink.kinds()


async def test_requests_and_agents_are_counted_too() -> None:
    report = await Run([[call("echo")], "done"])(budget=Limits(requests=1))
    assert report.results[0].outcome is Outcome.BUDGET
    assert report.budget is not None
    assert report.budget.spent.requests == 1
    report = await Run(["done"])(agents=3, budget=Limits(agents=2))
    assert sorted(r.outcome.value for r in report.results) == ["answered", "answered", "budget"]


async def test_siblings_wait_for_room_instead_of_being_refused() -> None:
    run = Run(["done"], latency_s=0.01)
    need = (await Run(["done"])()).usage.input_tokens
    budget = Limits(tokens=(need + 500) * 2)
    report = await run(agents=5, budget=budget)
    assert [r.outcome for r in report.results].count(Outcome.ANSWERED) >= 2
    assert total(report) <= (need + 500) * 2


async def test_an_attempt_in_doubt_is_charged_in_full_and_one_that_was_not_sent_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sashizu_core.turn.attempts.BACKOFF_CAP_S", 0.0)
    cut = ModelError("cut", fault="transport", sent=True)
    final = ModelError("no key", fault="auth", status=401)
    lost = ModelError("refused", fault="connect")
    answers: list[Any] = [cut, lost, final]
    run = Run(lambda _: answers.pop(0))
    report = await run(budget=Limits(tokens=100_000))
    held = [int(str(e["budget_held"])) for e in run.sink.of("budget.held")]
    assert total(report) == held[0]
    (doubtful, _) = run.sink.of("budget.settled")
    assert doubtful["attrs"] == {"nusd": 0, "in_doubt": True}
    assert len(run.sink.of("budget.released")) == 1
    assert report.budget is not None
    assert report.budget.spent.requests == 2  # the cut one, and the one that got a status


async def test_an_answer_without_usage_is_charged_at_its_hold_and_flagged() -> None:
    answers = iter(
        [
            Completion(Message("assistant", "", (call("echo"),)), None, "tool_calls"),
            Completion(Message("assistant", "done"), None, "stop"),
        ]
    )
    run = Run(lambda _: next(answers))
    report = await run(budget=Limits(tokens=100_000))
    (result,) = report.results
    assert result.answer == "done"
    first, second = run.sink.of("budget.held")
    assert second["attrs"]["rule"] == "text of everything"  # type: ignore[index]
    held = int(str(first["budget_held"])) + int(str(second["budget_held"]))
    assert total(report) == result.doubtful_tokens == held
    assert [e["attrs"]["in_doubt"] for e in run.sink.of("budget.settled")] == [True, True]  # type: ignore[index]


async def test_a_cancelled_call_is_charged_in_full() -> None:
    run = Run(["never"], latency_s=60)
    report = await run(budget=Limits(tokens=100_000), deadline_s=0.05)
    assert report.results[0].outcome is Outcome.DEADLINE
    assert total(report) == int(str(run.sink.of("budget.held")[0]["budget_held"]))


async def test_a_bill_above_the_hold_is_booked_recorded_and_ends_the_spending() -> None:
    def script(request: ModelRequest) -> Any:
        return Completion(
            Message("assistant", "", (call("echo"),)), Usage(90_000, 90_000), "tool_calls"
        )

    run = Run(script)
    report = await run(budget=Limits(tokens=100_000))
    assert len(run.model.requests) == 1
    assert report.results[0].outcome is Outcome.BUDGET
    assert len(run.sink.of("budget.overrun")) == 1
    assert total(report) == 180_000


async def test_an_agent_that_may_not_start_is_recorded_with_its_reason() -> None:
    run = Run(["done"])
    report = await run(agents=2, budget=Limits(agents=1))
    # Which of them begins first is the scheduler's choice.
    assert {result.outcome for result in report.results} == {Outcome.ANSWERED, Outcome.BUDGET}
    assert sum("1 agents" in result.error for result in report.results) == 1
    (refused,) = run.sink.of("budget.refused")
    assert refused["budget_unit"] == "agents"


async def test_a_limit_in_dollars_needs_a_price_and_is_kept() -> None:
    unpriced = ModelInfo("fake/m", "fake", min_output_tokens=16)
    with pytest.raises(UsageError, match="no price"):
        await Run(["x"], info=unpriced)(budget=Limits(nusd=10))
    priced = ModelInfo(
        "fake/m", "fake", min_output_tokens=16, price=Price(input=1_000, output=2_000)
    )
    run = Run(["done"], info=priced)
    report = await run(budget=Limits(nusd=10**9))
    assert report.budget is not None
    usage = report.usage
    assert report.budget.spent.nusd == usage.input_tokens * 1_000 + usage.output_tokens * 2_000
    poor = await Run(["done"], info=priced)(budget=Limits(nusd=1_000))
    assert poor.results[0].outcome is Outcome.BUDGET


async def test_the_time_of_a_budget_is_a_deadline() -> None:
    report = await Run(["never"], latency_s=60)(budget=Limits(seconds=0.05))
    assert report.results[0].outcome is Outcome.DEADLINE


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    limit=st.integers(1, 30_000),
    agents=st.integers(1, 6),
    turns=st.integers(0, 4),
    faults=st.lists(st.sampled_from(["transport", "connect", "overloaded", None]), max_size=6),
)
def test_a_run_never_spends_more_than_its_limit(
    limit: int, agents: int, turns: int, faults: list[Any], tmp_path_factory: Any
) -> None:
    pending = list(faults)

    def script(request: ModelRequest) -> Any:
        if pending and (fault := pending.pop()) is not None:
            sent = fault == "transport"
            raise ModelError("fault", fault=fault, sent=sent, status=None if sent else 503)
        turn = sum(m.role == "assistant" for m in request.messages)
        return "done" if turn >= turns else [call("echo")]

    async def go() -> RunReport:
        return await Run(script)(agents, budget=Limits(tokens=limit))

    report = _without_waiting(go)
    assert report.budget is not None
    assert report.budget.spent.tokens <= limit
    assert report.budget.held.tokens == 0
    assert report.budget.overrun.tokens == 0


def test_whatever_one_call_in_twenty_does_agents_end_for_a_reason_and_within_the_limit() -> None:
    chance = random.Random(7)
    seen: set[str] = set()

    def script(request: ModelRequest) -> Any:
        if chance.random() < 0.05:
            fault = chance.choice(FAULTS)
            seen.add(fault)
            raise ModelError("fault", fault=fault, sent=fault in ("transport", "timeout"))
        turn = sum(m.role == "assistant" for m in request.messages)
        return "done" if turn >= 3 else [call("echo")]

    async def go() -> RunReport:
        return await Run(script)(60, budget=Limits(tokens=40_000_000))

    report = _without_waiting(go)
    outcomes = {result.outcome for result in report.results}
    assert len(seen) >= 6
    assert len(report.results) == 60
    assert {Outcome.ANSWERED, Outcome.MODEL_FAILED} <= outcomes
    assert outcomes <= {Outcome.ANSWERED, Outcome.MODEL_FAILED, Outcome.BUDGET}
    for result in report.results:
        assert result.outcome is not Outcome.MODEL_FAILED or result.error.split(":")[0] in FAULTS
    assert total(report) <= 40_000_000
    assert report.budget is not None
    assert report.budget.held.tokens == 0


def _without_waiting(go: Callable[[], Any]) -> RunReport:
    """Run with back-offs that do not sleep."""
    patch = pytest.MonkeyPatch()
    patch.setattr("sashizu_core.turn.attempts.BACKOFF_BASE_S", 0.0)
    patch.setattr("sashizu_core.turn.attempts.BACKOFF_CAP_S", 0.0)
    try:
        report: RunReport = anyio.run(go)
        return report
    finally:
        patch.undo()

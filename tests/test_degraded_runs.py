"""What happens before a budget ends, under the real ledger: a word, another model, last words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sashizu_budget.ledger import Ledger
from sashizu_budget.spend_connection import SpendFile
from sashizu_budget.windows import Windows
from sashizu_core.agents import AgentDefinition
from sashizu_core.errors import ModelError, UsageError
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Budget, Busy, Refused
from sashizu_core.runtime import delegate_parallel
from sashizu_core.runtime.shared_budget import shared_budget
from sashizu_core.settings import Settings
from sashizu_core.specs import BudgetSpec, ToolSpec
from sashizu_core.testing.fakes import (
    MemorySink,
    Script,
    ScriptedModel,
    call,
    memory_sink,
    scripted_model,
)
from sashizu_core.types import (
    Amount,
    Bound,
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

DEAR = Price(input=1_000, output=10_000)
CHEAP = Price(input=10, output=100)
MAIN = ModelInfo("fake/main", "fake", price=DEAR, min_output_tokens=16, max_output_tokens=500)
SPARE = ModelInfo(
    "spare/small", "spare", price=CHEAP, min_output_tokens=16, efforts=("minimal", "low", "high")
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


class Say:
    """A tool that answers with a text of the length that it was made for."""

    schema = ToolSchema("say", "answers", {"type": "object"})
    kind = StepKind.PURE

    def __init__(self, length: int) -> None:
        self.length = length

    def parse(self, arguments: str) -> Any:
        return arguments

    def requests(self, arguments: Any, context: Any) -> Sequence[Any]:
        return ()

    async def run(self, arguments: Any, context: Any) -> ToolResult:
        return ToolResult("x" * self.length)


class Metered(ScriptedModel):
    """A model that cannot count, and whose every call is billed at most `most` tokens of input."""

    def __init__(self, script: Script, info: ModelInfo, most: int | None = None) -> None:
        super().__init__(script, info=info)
        self.most = most

    def bound(self, request: ModelRequest) -> Bound:
        bound = super().bound(request)
        if self.most is None:
            return bound
        return replace(bound, input_tokens=self.most, rule="metered")

    async def count(self, request: ModelRequest) -> int | None:
        return None


class Run:
    """Runs of agents `a` with a main model and a spare one, under the real ledger."""

    def __init__(
        self,
        script: Script,
        spare: Script = ("from the spare",),
        *,
        said: int = 10,
        most: int | None = None,
    ) -> None:
        self.sink = MemorySink()
        self.main = Metered(script, MAIN, most)
        self.spare = Metered(spare, SPARE)
        self.ledger: Budget = Ledger()
        self.said = said

    async def __call__(
        self,
        budget: Limits | None = None,
        agent: Mapping[str, Any] | None = None,
        *,
        agents: int = 1,
        warn_at: float = 0.8,
        **options: Any,
    ) -> RunReport:
        @asynccontextmanager
        async def ledger() -> AsyncIterator[Budget]:
            yield self.ledger

        @asynccontextmanager
        async def say() -> AsyncIterator[Say]:
            yield Say(self.said)

        fields = {"name": "a", "goal": "g", "tools": {"mcp": ["say"]}, **(agent or {})}
        registry = Registry(
            models={m.info.name: scripted_model(m) for m in (self.main, self.spare)},
            tools={"say": ToolSpec("say", "answers", say)},
            budget=BudgetSpec("ledger", "the ledger", ledger),
            sinks={"memory": memory_sink(self.sink)},
        )
        run = {"model": self.main.info.name, "jobs": 50, "warn_at": warn_at}
        with anyio.fail_after(20):
            return await delegate_parallel(
                [Task("a")] * agents,
                agents=[AgentDefinition.model_validate(fields)],
                settings=Settings({"run": run}),
                registry=registry,
                budget=budget,
                **options,
            )

    def notes(self, model: ScriptedModel | None = None) -> list[str]:
        """What the model was told of its budget, in the last request that it got."""
        last = (model or self.main).requests[-1].messages
        return [m.content for m in last if m.content.startswith("[budget]")]

    def degraded(self) -> list[Mapping[str, Any]]:
        return [dict(fields) for fields in self.sink.of("budget.degraded")]


def billed(text: str, tokens: int, *, done: bool = False) -> Completion:
    """An answer that is billed so many tokens, with a tool call unless it is the last."""
    message = Message("assistant", text, () if done else (call("say"),))
    return Completion(message, Usage(tokens - 10, 10), "stop" if done else "tool_calls")


def turn(request: ModelRequest) -> int:
    return sum(message.role == "assistant" for message in request.messages)


def steps(*tokens: int) -> Script:
    """Answers that are billed these tokens, the last of them without a tool call."""
    return [billed(f"step {i}", each, done=i == len(tokens) - 1) for i, each in enumerate(tokens)]


# --- the word before the end ----------------------------------------------------------------------


async def test_an_agent_is_told_once_what_is_left_before_its_next_call() -> None:
    run = Run(steps(*[8_500] * 10, 100, 100), most=8_500)
    report = await run(Limits(tokens=100_000, requests=50))
    assert report.results[0].ok, report.results[0].error
    told = [[m for m in r.messages if m.content.startswith("[budget]")] for r in run.main.requests]
    assert [len(notes) for notes in told] == [0] * 10 + [1, 1]
    assert run.main.requests[10].messages[-1] is told[10][0]
    (note,) = run.notes()
    assert "85% of the tokens of 'run' are used up" in note
    assert "Left: 15,000 tokens, 40 requests" in note
    (event,) = run.degraded()
    assert (event["budget_unit"], event["budget_spent"], event["budget_limit"]) == (
        "tokens",
        85_000,
        100_000,
    )
    assert event["attrs"] == {
        "how": "warned",
        "why": "share",
        "share": 0.85,
        "left": {"tokens": 15_000, "requests": 40},
    }
    assert event["agent_id"] == report.results[0].agent_id


async def test_the_limit_that_is_nearest_counts_whoever_has_it() -> None:
    run = Run(steps(*[850] * 10, 100), most=850)
    await run(Limits(tokens=1_000_000), {"budget": {"tokens": 10_000, "requests": 100}})
    (note,) = run.notes()
    assert "85% of the tokens of 'a' are used up. Left: 1,500 tokens, 90 requests" in note


async def test_a_definition_says_when_and_1_is_never() -> None:
    run = Run(steps(20_000, 100), most=20_000)
    await run(Limits(tokens=100_000), {"budget": {"warn_at": 0.1}})
    assert len(run.notes()) == 1
    run = Run(steps(20_000, 20_000, 20_000, 20_000, 100), most=20_000)
    await run(Limits(tokens=100_000), {"budget": {"warn_at": 1}})
    assert run.degraded() == []
    assert len(run.main.requests) == 4


async def test_dollars_and_requests_are_limits_like_tokens() -> None:
    run = Run(steps(*[8_500] * 10, 100), most=8_500)
    await run(Limits(nusd=100_000_000))
    (note,) = run.notes()
    assert "86% of the USD of 'run' are used up. Left: 0.0141 USD" in note
    run = Run(steps(100, 100, 100, 100, 100), most=100)
    await run(Limits(requests=5))
    (note,) = run.notes()
    assert "80% of the requests of 'run' are used up. Left: 1 requests" in note


async def test_time_is_a_limit_too() -> None:
    run = Run(steps(100, 100))
    await run(Limits(), {"budget": {"seconds": 1_000_000, "warn_at": 1e-15}})
    (note,) = run.notes()
    assert "of the seconds of 'a' are used up. Left: 999,999 seconds" in note
    run = Run(steps(100, 100))
    await run(Limits(seconds=1_000_000), {"budget": {"warn_at": 1e-15}})
    assert "of the seconds of 'run' are used up" in run.notes()[0]


async def test_an_agent_is_told_earlier_where_less_than_two_more_calls_fit() -> None:
    run = Run(steps(6_000, 6_000, 100), most=6_000)
    report = await run(Limits(tokens=20_000))
    assert report.results[0].ok, report.results[0].error
    assert len(run.notes()) == 1
    assert "Less than two more calls of this size are left. Left: 8,000 tokens" in run.notes()[0]
    (event,) = run.degraded()
    assert event["attrs"]["why"] == "room"


async def test_what_is_held_for_siblings_warns_nobody() -> None:
    run = Run([billed("one", 1_000), billed("two", 1_000, done=True)], most=1_000)
    report = await run(Limits(tokens=40_000), agents=12)
    assert all(result.ok for result in report.results)
    assert run.degraded() == []


async def test_the_limit_that_several_runs_share_counts_too() -> None:
    run = Run(steps(*[850] * 10, 100), most=850)
    server = run.ledger.root("server", Limits(tokens=10_000))
    run.ledger = shared_budget(run.ledger, server)
    await run(Limits(tokens=1_000_000))
    (note,) = run.notes()
    assert "85% of the tokens of 'server' are used up" in note


async def test_a_conversation_goes_on_without_what_was_said_of_an_older_budget() -> None:
    run = Run(steps(850, 100), most=850)
    kept = {"policies": {"context": {"retention": "session"}}}
    first = await run(Limits(tokens=2_000), kept)
    assert len(run.notes()) == 1
    conversation = first.results[0].conversation_id
    run.main._script = lambda _: "again"
    await run(None, kept, continue_conversation=conversation)
    assert run.notes() == []
    assert [m.role for m in run.main.requests[-1].messages][-2:] == ["assistant", "user"]


def spent_of_a_day(folder: Path, tokens: int, limit: Limits) -> Ledger:
    """A ledger below a window of a day of which so much is spent."""
    spend = folder / "spend.sqlite"
    Windows(SpendFile(spend), str(folder)).set("day", limit)
    other = Ledger(spend=spend, project=folder).root("other", Limits())
    hold = other.reserve(Amount(tokens=tokens))
    assert not isinstance(hold, Busy | Refused), hold
    hold.settle(Amount(tokens=tokens))
    other.close()
    return Ledger(spend=spend, project=folder)


async def test_a_window_counts_like_a_limit_as_large_as_what_was_left_of_it(tmp_path: Path) -> None:
    run = Run(steps(*[850] * 10, 100), most=850)
    run.ledger = spent_of_a_day(tmp_path, 90_000, Limits(tokens=100_000))
    report = await run(Limits(tokens=1_000_000))
    assert report.results[0].ok, report.results[0].error
    told = [[m for m in r.messages if m.content.startswith("[budget]")] for r in run.main.requests]
    assert [len(notes) for notes in told] == [0] * 10 + [1]
    (note,) = run.notes()
    day = report_day(run)
    assert f"85% of the tokens that were left of {day!r} are used up. Left: 1,500 tokens" in note
    warned, told_agent = run.degraded()
    assert warned["attrs"] == {
        "how": "window",
        "window": day,
        "share": 0.9,
        "left": {"tokens": 10_000},
        "told": warned["attrs"]["told"],
    }
    assert warned["attrs"]["told"].startswith(f"{day}: 10,000 of 100,000 tokens left, starts anew")
    assert "agent_id" not in warned
    assert (warned["budget_spent"], warned["budget_limit"]) == (90_000, 100_000)
    assert told_agent["attrs"]["window"] == day
    assert (told_agent["budget_spent"], told_agent["budget_limit"]) == (8_500, 10_000)


def report_day(run: Run) -> str:
    """The window that the run was told of."""
    return str(run.degraded()[0]["attrs"]["window"])


async def test_a_window_has_the_fallback_go_on_in_time(tmp_path: Path) -> None:
    run = Run(steps(6_000, 1), lambda r: SPOKEN[turn(r) - 1], most=6_000)
    run.ledger = spent_of_a_day(tmp_path, 1_000, Limits(tokens=11_000))
    report = await run(None, FALLS)
    assert report.results[0].ok, report.results[0].error
    (event,) = run.degraded()
    assert event["attrs"]["how"] == "fallback"
    assert event["attrs"]["window"].startswith("day ")
    assert len(run.spare.requests) == 2


async def test_a_window_of_which_less_than_two_calls_are_left_is_told(tmp_path: Path) -> None:
    run = Run(steps(6_000, 6_000, 100), most=6_000)
    run.ledger = spent_of_a_day(tmp_path, 5_000, Limits(tokens=25_000))
    report = await run()
    assert report.results[0].ok, report.results[0].error
    assert "Less than two more calls of this size are left. Left: 8,000 tokens" in run.notes()[0]


async def test_a_clock_that_goes_back_in_the_middle_gives_an_agent_nothing_back(
    tmp_path: Path,
) -> None:
    day_ns = 86_400 * 10**9
    now = [20_000 * day_ns + day_ns // 2]
    spend = tmp_path / "spend.sqlite"
    windows = Windows(SpendFile(spend, now_ns=lambda: now[0]), str(tmp_path))
    windows.set("day", Limits(tokens=3_000))

    def script(request: ModelRequest) -> Completion:
        now[0] -= day_ns
        return billed(f"step {turn(request)}", 900)

    run = Run(script, most=900)
    run.ledger = Ledger(spend=spend, project=tmp_path, now_ns=lambda: now[0])
    report = await run(warn_at=1)
    assert report.results[0].outcome is Outcome.BUDGET
    assert report.results[0].error is not None
    assert "budget of 'day 2024-10-04' refused" in report.results[0].error
    assert windows.now().behind
    assert windows.now().stands[0].spent[0] == len(run.main.requests) * 900 <= 3_000


async def test_windows_are_told_to_nobody_where_the_settings_say_never(tmp_path: Path) -> None:
    run = Run(steps(*[850] * 10, 100), most=850)
    run.ledger = spent_of_a_day(tmp_path, 90_000, Limits(tokens=100_000))
    assert (await run(warn_at=1)).results[0].ok
    assert run.degraded() == []


async def test_without_a_limit_nobody_is_told_anything() -> None:
    run = Run(steps(10**9, 10**9, 100))
    report = await run()
    assert report.results[0].ok
    assert run.degraded() == []


# --- the cheaper model ----------------------------------------------------------------------------

FALLS = {"fallback": SPARE.name, "budget": {"fallback_at": 0.5, "warn_at": 0.9}}
SPOKEN = [billed("three", 200), "from the spare"]


async def test_from_the_threshold_on_the_fallback_does_the_rest_with_less_effort() -> None:
    run = Run(steps(30_000, 30_000, 1), lambda r: SPOKEN[turn(r) - 2], most=30_000)
    result = (await run(Limits(tokens=100_000), FALLS)).results[0]
    assert (result.outcome, result.answer) == (Outcome.ANSWERED, "from the spare")
    assert [len(model.requests) for model in (run.main, run.spare)] == [2, 2]
    assert {request.effort for request in run.main.requests} == {None}
    assert {request.effort for request in run.spare.requests} == {"low"}
    said = [m.content for m in run.spare.requests[0].messages if m.role == "assistant"]
    assert said == ["step 0", "step 1"]
    assert result.usage.requests == 4
    (event,) = run.degraded()
    assert (event["model"], event["budget_unit"]) == (SPARE.name, "tokens")
    assert event["attrs"] == {
        "how": "fallback",
        "why": "budget",
        "share": 0.6,
        "from": MAIN.name,
        "effort": "low",
    }


async def test_the_fallback_is_held_by_the_text_of_everything_at_its_own_price() -> None:
    run = Run(steps(60_000, 1), lambda r: SPOKEN[turn(r) - 1], most=60_000)
    report = await run(Limits(nusd=150_000_000), {**FALLS, "budget": {"fallback_at": 0.4}})
    assert report.results[0].ok, report.results[0].error
    held = [dict(fields)["attrs"] for fields in run.sink.of("budget.held")]
    assert [attrs["rule"] for attrs in held] == [
        "metered",
        "text of everything",
        "previous call + text added",
    ]
    bound = run.spare.bound(run.spare.requests[0])
    assert held[1]["nusd"] == bound.input_tokens * 10 + bound.output_tokens * 100
    costs = [fields.get("cost_nusd") for fields in run.sink.of("model.answered")]
    assert costs[:2] == [59_990 * 1_000 + 10 * 10_000, 190 * 10 + 10 * 100]


async def test_a_fallback_that_does_not_fit_leaves_the_agent_its_own_model() -> None:
    run = Run(steps(6_000, 100), most=6_000)
    long = {"goal": "g" * 9_000, "budget": {"fallback_at": 0.3, "warn_at": 1}}
    report = await run(Limits(tokens=16_000), {"fallback": SPARE.name, **long})
    assert report.results[0].answer == "step 1"
    assert run.spare.requests == []
    how = [event["attrs"]["how"] for event in run.degraded()]
    assert how == ["fallback", "returned"]
    assert run.degraded()[-1]["model"] == MAIN.name
    assert report.budget is not None
    assert report.budget.spent.tokens == 6_100


@pytest.mark.parametrize("fault", ["quota", "auth", "not_found"])
async def test_a_model_that_fails_for_good_is_replaced_by_the_fallback(fault: Any) -> None:
    broken = ModelError("gone", fault=fault, status=402)
    run = Run([billed("one", 100), broken], lambda r: "from the spare")
    result = (await run(Limits(tokens=100_000), {"fallback": SPARE.name})).results[0]
    assert (result.outcome, result.answer) == (Outcome.ANSWERED, "from the spare")
    assert result.usage.requests == 3
    (event,) = run.degraded()
    assert event["attrs"] == {
        "how": "fallback",
        "why": "provider",
        "fault": fault,
        "from": MAIN.name,
    }
    assert run.spare.requests[0].effort is None
    assert run.sink.kinds().count("model.failed") == 1


@pytest.mark.parametrize("fault", ["invalid_request", "content_filter"])
async def test_what_another_model_would_refuse_as_well_is_not_asked_of_it(fault: Any) -> None:
    run = Run([ModelError("no", fault=fault, status=400)])
    result = (await run(None, {"fallback": SPARE.name})).results[0]
    assert result.outcome is Outcome.MODEL_FAILED
    assert run.spare.requests == []


async def test_a_fallback_that_fails_too_ends_the_agent() -> None:
    gone = ModelError("gone", fault="auth", status=401)
    run = Run([gone], [ModelError("gone too", fault="auth", status=401)])
    result = (await run(None, {"fallback": SPARE.name})).results[0]
    assert (result.outcome, result.error) == (Outcome.MODEL_FAILED, "auth: gone too")


async def test_a_limit_in_dollars_needs_the_price_of_the_fallback() -> None:
    run = Run(["done"])
    run.spare.info = ModelInfo("spare/nobody-knows", "spare")
    with pytest.raises(UsageError, match="no price is known for 'spare/nobody-knows'"):
        await run(Limits(nusd=10**9), {"fallback": "spare/nobody-knows"})
    assert run.main.requests == []


async def test_an_unknown_fallback_is_told_before_anything_is_spent() -> None:
    run = Run(["done"])
    with pytest.raises(UsageError, match=r"unknown model 'spare/smal'.*did you mean 'spare/small'"):
        await run(None, {"fallback": "spare/smal"})


async def test_whoever_asks_for_another_model_gets_no_fallback_of_the_definitions_own() -> None:
    run = Run(["done"], [ModelError("gone", fault="auth", status=401)])
    fields = {"model": MAIN.name, "fallback": "spare/nobody-has"}
    result = (await run(None, fields, model=SPARE.name)).results[0]
    assert result.outcome is Outcome.MODEL_FAILED
    assert run.main.requests == []


# --- the end --------------------------------------------------------------------------------------


async def test_a_refused_agent_gives_one_short_answer_where_cutting_results_makes_room() -> None:
    def script(request: ModelRequest) -> Any:
        if "no room" in request.messages[-1].content:
            return "what I found"
        return Completion(Message("assistant", "thinking", (call("say"),)), None, "tool_calls")

    run = Run(script, said=2_500)
    report = await run(Limits(tokens=13_000), {"budget": {"warn_at": 0.99}})
    result = report.results[0]
    assert (result.outcome, result.answer) == (Outcome.BUDGET, "what I found")
    assert result.error.startswith("budget of 'run' refused")
    last = run.main.requests[-1]
    assert last.max_output_tokens is not None
    assert last.max_output_tokens <= 64
    results = [m for m in last.messages if m.role == "tool"]
    assert results
    assert all(len(m.content) < 2_500 for m in results)
    assert report.budget is not None
    assert report.budget.spent.tokens <= 13_000


async def test_an_agent_ends_with_what_it_said_where_nothing_more_fits() -> None:
    run = Run([billed("a first idea", 9_500)], most=9_500)
    result = (await run(Limits(tokens=10_000))).results[0]
    assert (result.status, result.outcome) == ("error", Outcome.BUDGET)
    assert result.answer == "a first idea"
    assert "refused" in result.error
    assert len(run.main.requests) == 1


async def test_nobody_who_was_never_answered_is_asked_for_last_words() -> None:
    run = Run(["never"])
    result = (await run(Limits(tokens=50))).results[0]
    assert (result.outcome, result.answer, run.main.requests) == (Outcome.BUDGET, "", [])
    assert run.sink.kinds().count("budget.refused") == 1


@given(
    tokens=st.integers(500, 40_000),
    sizes=st.lists(st.integers(20, 9_000), min_size=1, max_size=6),
    said=st.integers(0, 5_000),
    warn_at=st.sampled_from([0.1, 0.5, 0.8, 1]),
    fallback_at=st.sampled_from([None, 0.1, 0.5, 0.9]),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_nothing_of_this_ever_spends_more_than_the_limit(
    tokens: int, sizes: list[int], said: int, warn_at: float, fallback_at: float | None
) -> None:
    def honest(request: ModelRequest) -> Any:
        """Bills no more than the hold, as the guarantee asks of providers."""
        bound = run.main.bound(request)
        size = sizes[min(turn(request), len(sizes) - 1)]
        cap = request.max_output_tokens or 0
        usage = Usage(min(size, bound.input_tokens), min(10, cap))
        done = turn(request) >= len(sizes) - 1
        return Completion(
            Message("assistant", "more", () if done else (call("say"),)),
            usage,
            "stop" if done else "tool_calls",
        )

    run = Run(honest, honest, said=said)
    fields = {"fallback": SPARE.name, "budget": {"fallback_at": fallback_at}}

    async def go() -> RunReport:
        return await run(Limits(tokens=tokens), fields, agents=3, warn_at=warn_at)

    report = anyio.run(go)
    assert run.main.requests or report.results[0].outcome is Outcome.BUDGET
    assert report.budget is not None
    assert report.budget.held.tokens == 0
    assert report.budget.spent.tokens <= tokens
    assert report.budget.overrun.tokens == 0
    warned = [e["agent_id"] for e in run.degraded() if e["attrs"]["how"] == "warned"]
    assert len(warned) == len(set(warned))

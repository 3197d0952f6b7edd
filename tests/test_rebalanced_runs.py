"""What agents leave of limits of their own, and who gets it, under the real ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sashizu_budget.ledger import Ledger
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.errors import MissingPackage, UsageError
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Budget
from sashizu_core.runtime import delegate_parallel
from sashizu_core.runtime.shared_budget import shared_budget
from sashizu_core.settings import Settings
from sashizu_core.specs import BudgetSpec
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, call, memory_sink, scripted_model
from sashizu_core.types import (
    Bound,
    Completion,
    Limits,
    Message,
    ModelInfo,
    ModelRequest,
    Outcome,
    RunReport,
    Task,
    Usage,
)

in_order = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""Where tasks begin in the order in which they are made."""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


class Metered(ScriptedModel):
    """A model whose every call is bounded by, and billed, the same number of tokens.

    It makes `calls` calls of a tool before it answers.
    """

    def __init__(self, name: str, tokens: int, calls: int, after: anyio.Event | None) -> None:
        info = ModelInfo(f"fake/{name}", "fake", local=True, min_output_tokens=1)
        super().__init__(self._say, info=info)
        self.tokens = tokens
        self.calls = calls
        self.after = after
        self.refused = False

    def bound(self, request: ModelRequest) -> Bound:
        return Bound(self.tokens - 1, 1, "metered")

    async def count(self, request: ModelRequest) -> int | None:
        self.refused = True  # nobody counts what fits
        return None

    async def complete(self, request: ModelRequest, **options: Any) -> Completion:
        if self.after is not None:
            await self.after.wait()
        return await super().complete(request, **options)

    def _say(self, request: ModelRequest) -> Completion:
        turn = sum(message.role == "assistant" for message in request.messages)
        more = turn < self.calls
        message = Message("assistant", f"turn {turn}", (call("list_files"),) if more else ())
        usage = Usage(self.tokens - 1, 1)
        return Completion(message, usage, "tool_calls" if more else "stop")


class World:
    """Agents that spend what they are made to spend."""

    def __init__(self) -> None:
        self.sink = MemorySink()
        self.ledger: Budget = Ledger()
        self.models: dict[str, Metered] = {}
        self.agents: list[AgentDefinition] = []

    def agent(
        self,
        name: str,
        tokens: int,
        calls: int,
        *,
        limit: int | None = None,
        after: anyio.Event | None = None,
        **more: Any,
    ) -> None:
        """One that makes `calls` + 1 calls of so many tokens, under a limit in tokens."""
        model = self.models[name] = Metered(name, tokens, calls, after)
        budget = {"warn_at": 1, **({"tokens": limit} if limit else {}), **more.pop("budget", {})}
        fields = {
            "name": name,
            "goal": "g",
            "model": model.info.name,
            "tools": {"mcp": ["list_files"], "fs": {"read": True}},
            "budget": budget,
            **more,
        }
        self.agents.append(AgentDefinition.model_validate(fields))

    async def run(
        self, *names: str, budget: Limits | None = None, rebalance: bool = True, jobs: int = 50
    ) -> RunReport:
        @asynccontextmanager
        async def ledger() -> AsyncIterator[Budget]:
            yield self.ledger

        tools = {spec.name: spec for spec in builtin.register_tools(Settings())}
        registry = Registry(
            models={m.info.name: scripted_model(m) for m in self.models.values()},
            tools=tools,
            budget=BudgetSpec("ledger", "the ledger", ledger),
            sinks={"memory": memory_sink(self.sink)},
        )
        with anyio.fail_after(20):
            return await delegate_parallel(
                [Task(name) for name in names],
                agents=self.agents,
                settings=Settings(),
                registry=registry,
                budget=budget,
                jobs=jobs,
                rebalance=rebalance,
            )

    async def once_refused(self, done: anyio.Event, *names: str) -> None:
        """Wait until agents have been refused and wait themselves."""
        while not all(self.models[name].refused for name in names):
            await anyio.lowlevel.checkpoint()
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        done.set()

    def moves(self) -> list[Mapping[str, Any]]:
        return [dict(fields) for fields in self.sink.of("budget.rebalanced")]


def outcomes(report: RunReport) -> list[Outcome]:
    return [result.outcome for result in report.results]


async def test_what_one_agent_leaves_goes_to_a_sibling_that_was_refused() -> None:
    world = World()
    world.agent("small", 100, 0, limit=5_000)
    world.agent("large", 1_000, 8, limit=5_000)
    report = await world.run("small", "large", budget=Limits(tokens=20_000))
    assert outcomes(report) == [Outcome.ANSWERED] * 2
    assert report.results[1].usage.tokens == 9_000
    state = report.results[1].budget
    assert state is not None
    assert state.spent.tokens == 9_000 <= (state.limits.tokens or 0) <= 9_900
    moves = world.moves()
    assert {(m["agent_name"], m["attrs"]["from"]) for m in moves} == {("large", "small")}
    assert sum(m["attrs"]["amount"] for m in moves) == (state.limits.tokens or 0) - 5_000
    assert moves[-1]["budget_limit"] == state.limits.tokens
    assert moves[-1]["attrs"]["from_agent_id"] == report.results[0].agent_id


async def test_without_being_asked_nobody_passes_anything_on() -> None:
    world = World()
    world.agent("small", 100, 0, limit=5_000)
    world.agent("large", 1_000, 8, limit=5_000)
    report = await world.run("small", "large", rebalance=False)
    assert outcomes(report) == [Outcome.ANSWERED, Outcome.BUDGET]
    assert world.moves() == []


async def test_the_limit_of_the_run_holds_whatever_is_passed_on() -> None:
    world = World()
    world.agent("small", 100, 0, limit=5_000)
    world.agent("large", 1_000, 8, limit=5_000)
    report = await world.run("small", "large", budget=Limits(tokens=6_500))
    assert outcomes(report) == [Outcome.ANSWERED, Outcome.BUDGET]
    assert "budget of 'run' refused" in report.results[1].error
    assert report.budget is not None
    assert report.budget.spent.tokens == 6_100


async def test_who_is_refused_waits_for_those_at_work() -> None:
    world, done = World(), anyio.Event()
    world.agent("slow", 100, 0, limit=5_000, after=done)
    world.agent("large", 1_000, 8, limit=5_000)
    async with anyio.create_task_group() as group:
        group.start_soon(world.once_refused, done, "large")
        report = await world.run("slow", "large")
    assert outcomes(report) == [Outcome.ANSWERED] * 2
    assert {move["attrs"]["why"] for move in world.moves()} == {"waited"}


async def test_the_neediest_comes_first() -> None:
    world, done = World(), anyio.Event()
    world.agent("giver", 100, 0, limit=3_100, after=done)
    world.agent("less", 1_500, 1, limit=2_000)
    world.agent("more", 2_900, 1, limit=3_000)
    async with anyio.create_task_group() as group:
        group.start_soon(world.once_refused, done, "less", "more")
        report = await world.run("giver", "less", "more")
    assert world.moves()[0]["agent_name"] == "more"
    assert outcomes(report)[2] is Outcome.ANSWERED


async def test_who_nobody_can_help_is_refused_and_leaves_the_others_what_it_has() -> None:
    world = World()
    world.agent("hopeless", 4_000, 1, limit=5_000)
    world.agent("close", 1_000, 5, limit=5_000)
    report = await world.run("hopeless", "close")
    assert outcomes(report) == [Outcome.BUDGET, Outcome.ANSWERED]
    assert "budget of 'hopeless' refused" in report.results[0].error
    assert world.moves()[0]["attrs"]["from"] == "hopeless"


@in_order
async def test_nobody_waits_for_an_agent_that_cannot_begin() -> None:
    world = World()
    world.agent("large", 1_000, 8, limit=5_000)
    world.agent("small", 100, 0, limit=5_000)
    report = await world.run("large", "small", jobs=1)
    assert outcomes(report) == [Outcome.BUDGET, Outcome.ANSWERED]
    again = World()
    again.agent("small", 100, 0, limit=5_000)
    again.agent("large", 1_000, 8, limit=5_000)
    report = await again.run("small", "large", jobs=1)
    assert outcomes(report) == [Outcome.ANSWERED, Outcome.ANSWERED]


@in_order
async def test_an_agent_close_to_its_end_takes_before_it_is_told_to_wrap_up() -> None:
    world = World()
    world.agent("small", 100, 0, limit=5_000)
    world.agent("large", 1_000, 6, limit=5_000, budget={"warn_at": 0.8})
    report = await world.run("small", "large", budget=Limits(tokens=50_000), jobs=1)
    assert outcomes(report) == [Outcome.ANSWERED] * 2
    assert "warned" in {move["attrs"]["why"] for move in world.moves()}
    assert world.sink.of("budget.degraded") == []


async def test_children_of_an_agent_are_siblings_of_each_other() -> None:
    world = World()
    world.agent("small", 100, 0, limit=5_000)
    world.agent("large", 1_000, 8, limit=5_000)
    world.agent("boss", 10, 1)
    boss = world.models["boss"]

    def say(request: ModelRequest) -> Completion:
        turn = sum(message.role == "assistant" for message in request.messages)
        calls = [
            tuple(call("delegate", f"{name}", agent=name, goal="g") for name in ("small", "large")),
            (),
        ][turn]
        message = Message("assistant", "all done", calls)
        return Completion(message, Usage(9, 1), "tool_calls" if calls else "stop")

    boss._script = say
    world.agents[-1] = world.agents[-1].model_copy(
        update={
            "tools": world.agents[-1].tools.model_copy(update={"mcp": ("delegate",)}),
            "spawn": world.agents[-1].spawn.model_copy(update={"agents": ("small", "large")}),
        }
    )
    report = await world.run("boss", budget=Limits(tokens=50_000), jobs=1)
    children = {child.agent: child for child in report.results[0].children}
    assert children["large"].outcome is Outcome.ANSWERED
    assert children["large"].usage.tokens == 9_000


async def test_runs_beneath_a_shared_limit_pass_on_as_well() -> None:
    world, ledger = World(), Ledger()
    server = ledger.root("server", Limits(tokens=8_050))
    world.ledger = shared_budget(ledger, server)
    world.agent("small", 100, 0, limit=5_000)
    world.agent("large", 1_000, 8, limit=5_000)
    report = await world.run("small", "large", budget=Limits(tokens=20_000))
    assert outcomes(report) == [Outcome.ANSWERED, Outcome.BUDGET]
    assert "budget of 'server' refused" in report.results[1].error
    assert server.state().spent.tokens == 7_100
    assert world.moves()


async def test_a_ledger_that_cannot_is_told_before_anything_is_spent() -> None:
    class Plain:
        """A ledger without the means."""

        def __init__(self) -> None:
            ledger = Ledger()
            self.root, self.price_of = ledger.root, ledger.price_of
            self.quote, self.bill, self.shrink = ledger.quote, ledger.bill, ledger.shrink

    world = World()
    world.agent("small", 100, 0)
    world.ledger = Plain()
    with pytest.raises(UsageError, match="cannot pass on what agents leave"):
        await world.run("small")
    with pytest.raises(MissingPackage, match="sashizu-budget"):
        await delegate_parallel(
            [Task("small")],
            agents=[world.agents[0].model_copy(update={"budget": type(world.agents[0].budget)()})],
            settings=Settings(),
            registry=Registry(
                models={m.info.name: scripted_model(m) for m in world.models.values()},
                tools={spec.name: spec for spec in builtin.register_tools(Settings())},
            ),
            audit=False,
            rebalance=True,
        )


agents = st.lists(
    st.tuples(st.integers(10, 900), st.integers(0, 6), st.integers(500, 3_000)),
    min_size=2,
    max_size=5,
)


@given(agents=agents, limit=st.integers(500, 12_000), jobs=st.sampled_from([1, 2, 50]))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_run_ends_and_no_limit_is_ever_passed(
    agents: Sequence[tuple[int, int, int]], limit: int, jobs: int
) -> None:
    world = World()
    for number, (tokens, calls, share) in enumerate(agents):
        world.agent(f"a{number}", tokens, calls, limit=share)
    names = [f"a{number}" for number in range(len(agents))]

    async def go() -> RunReport:
        return await world.run(*names, budget=Limits(tokens=limit), jobs=jobs)

    report = anyio.run(go)
    assert report.budget is not None
    assert report.budget.spent.tokens <= limit
    assert report.budget.held.tokens == 0
    ends = [result.budget for result in report.results if result.budget is not None]
    assert all(state.spent.tokens <= (state.limits.tokens or 0) for state in ends)
    granted = {f"a{number}": share for number, (_, _, share) in enumerate(agents)}
    for move in world.moves():
        granted[str(move["attrs"]["from"])] -= move["attrs"]["amount"]
        granted[str(move["agent_name"])] += move["attrs"]["amount"]
        assert granted[str(move["agent_name"])] == move["budget_limit"]
        assert all(share >= 0 for share in granted.values())

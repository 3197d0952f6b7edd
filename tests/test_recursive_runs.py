"""Agents that start agents, under one ledger, one permission and one record."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_budget.ledger import Ledger
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.control import RunHandle
from sashizu_core.plugins import Registry
from sashizu_core.protocols import Budget
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.specs import BudgetSpec
from sashizu_core.testing.fakes import MemorySink, Script, ScriptedModel, call, scripted_model
from sashizu_core.types import (
    AgentReport,
    Amount,
    Limits,
    ModelInfo,
    ModelRequest,
    Outcome,
    RunReport,
    Task,
    ToolCall,
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "a.txt").write_text("alpha\n", "utf-8")
    return folder


class World:
    """Agents with a scripted model each, over core's own tools and the real ledger."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.sink = MemorySink()
        self.models: dict[str, ScriptedModel] = {}
        self.agents: list[AgentDefinition] = []
        self.ledger = Ledger()
        self.settings: dict[str, Any] = {}

    def agent(
        self, name: str, script: Script, *, latency_s: float = 0.0, **more: Any
    ) -> ScriptedModel:
        info = ModelInfo(
            f"fake/{name}", "fake", local=True, min_output_tokens=16, max_output_tokens=500
        )
        model = self.models[info.name] = ScriptedModel(script, info=info, latency_s=latency_s)
        fields = {"name": name, "goal": f"{name} things", "model": info.name, **more}
        self.agents.append(AgentDefinition.model_validate(fields))
        return model

    async def run(self, *names: str | Task, **options: Any) -> RunReport:
        @asynccontextmanager
        async def open_() -> AsyncIterator[Budget]:
            yield self.ledger

        registry = Registry(
            models={name: scripted_model(model) for name, model in self.models.items()},
            tools={spec.name: spec for spec in builtin.register_tools(Settings())},
            budget=BudgetSpec("ledger", "the ledger", open_),
        )
        with anyio.fail_after(30):
            return await delegate_parallel(
                [Task(name) if isinstance(name, str) else name for name in names],
                workspace=self.place,
                agents=self.agents,
                settings=Settings(self.settings),
                registry=registry,
                sinks=[self.sink],
                audit=False,
                **options,
            )

    def started(self) -> list[Mapping[str, Any]]:
        return self.sink.of("agent.started")


@pytest.fixture
def world(place: Path) -> World:
    return World(place)


SPAWNS: Mapping[str, Any] = {"tools": {"mcp": ["delegate"]}, "spawn": {"agents": ["*"]}}


def asks(*agents: str, **more: Any) -> list[ToolCall]:
    """Calls of `delegate` in one answer."""
    return [
        call("delegate", f"call_{at}", agent=agent, goal="do a part", **more)
        for at, agent in enumerate(agents)
    ]


def heard(model: ScriptedModel, request: int = -1) -> list[dict[str, Any]]:
    """What `delegate` answered, as the model of the asking agent saw it."""
    messages = model.requests[request].messages
    return [json.loads(m.content) for m in messages if m.role == "tool"]


async def test_an_agent_gets_the_report_of_the_agent_that_it_asked(world: World) -> None:
    lead = world.agent("lead", [asks("helper"), "done"], **SPAWNS)
    world.agent("helper", ["found it"], success_criteria=["is found"])
    report = await world.run("lead", budget=Limits(tokens=200_000))
    assert report.results[0].ok, report.results[0].error
    (told,) = heard(lead)
    (child,) = report.results[0].children
    assert told["status"] == "ok"
    assert told["answer"] == child.answer == "found it"
    assert told["agent_id"] == child.agent_id
    assert [each["text"] for each in told["criteria"]] == ["is found"]
    assert told["usage"]["agents"] == 1
    assert report.budget is not None
    assert report.budget.spent.tokens == report.usage.tokens
    assert report.budget.spent.agents == 2


async def test_the_record_is_one_tree(world: World) -> None:
    world.agent("lead", [asks("helper", "helper"), "done"], **SPAWNS)
    world.agent("helper", ["found it"])
    await world.run("lead")
    lead, *helpers = world.started()
    assert lead["depth"] == 0
    assert "parent_agent_id" not in lead
    assert [(h["parent_agent_id"], h["depth"]) for h in helpers] == [(lead["agent_id"], 1)] * 2
    assert {h["parent_span_id"] for h in helpers} == {lead["span_id"]}
    assert {e["trace_id"] for e in world.started()} == {lead["trace_id"]}
    kinds = [e["step_kind"] for e in world.sink.of("tool.requested")]
    assert kinds == ["child", "child"]


def tree(model: ModelRequest) -> list[ToolCall] | str:
    """Three of the same below, as long as there is the tool."""
    if any(message.role == "assistant" for message in model.messages):
        return "done"
    return asks("node", "node", "node") if model.tools else "leaf"


async def test_four_levels_of_three_children_stay_under_one_budget(world: World) -> None:
    world.settings = {"spawn": {"agents": 1000, "rate": 1000, "alive": 1000}, "run": {"jobs": 4}}
    world.agent("node", tree, **SPAWNS)
    report = await world.run("node", budget=Limits(tokens=3_000_000, agents=200))
    reports = list(report.results[0].tree())
    assert len(reports) == 1 + 3 + 9 + 27 + 81
    assert all(each.ok for each in reports), {each.error for each in reports}
    assert report.budget is not None
    assert report.budget.spent.agents == 121
    assert report.budget.overrun.tokens == report.budget.held.tokens == 0
    assert report.budget.spent.tokens == report.usage.tokens
    by_depth = [sum(e["depth"] == depth for e in world.started()) for depth in range(6)]
    assert by_depth == [1, 3, 9, 27, 81, 0]
    parents = {str(e["agent_id"]): e for e in world.started()}
    for each in world.started():
        if each["depth"]:
            assert parents[str(each["parent_agent_id"])]["depth"] == each["depth"] - 1
    deepest = [e for e in world.started() if e["depth"] == 4]
    assert all(e["attrs"]["absent"] == {"delegate": "agents may go no deeper"} for e in deepest)


async def test_a_budget_that_is_too_small_is_never_exceeded_by_a_tree(world: World) -> None:
    world.settings = {"spawn": {"agents": 1000, "rate": 1000, "alive": 1000}}
    world.agent("node", tree, **SPAWNS)
    report = await world.run("node", budget=Limits(tokens=60_000, agents=30))
    assert report.budget is not None
    assert report.budget.spent.tokens <= 60_000
    assert report.budget.spent.agents <= 30
    assert report.budget.held.tokens == 0


async def test_a_model_that_calls_the_tool_where_there_is_none_is_refused(world: World) -> None:
    world.settings = {"spawn": {"depth": 1}}
    world.agent("lead", [asks("deep"), "done"], **SPAWNS)
    deep = world.agent("deep", [asks("deep"), "done"], **SPAWNS)
    await world.run("lead")
    assert len(world.started()) == 2
    assert deep.requests[0].tools == ()
    (refused,) = [m for m in deep.requests[1].messages if m.role == "tool"]
    assert refused.is_error


async def test_no_agent_starts_any_where_the_operator_switches_it_off(world: World) -> None:
    world.settings = {"spawn": {"depth": 0}}
    lead = world.agent("lead", ["done"], **SPAWNS)
    await world.run("lead")
    assert lead.requests[0].tools == ()


async def test_a_model_that_starts_agents_for_ever_is_bounded(world: World) -> None:
    world.settings = {"spawn": {"agents": 5}, "run": {"max_turns": 12}}
    lead = world.agent("lead", lambda request: asks("helper"), **SPAWNS)
    world.agent("helper", ["ok"])
    report = await world.run("lead")
    assert report.results[0].outcome is Outcome.TURN_LIMIT
    assert len(world.started()) == 1 + 5
    refused = [told for told in heard(lead) if told["status"] == "refused"]
    assert {(told["limit"], told["allowed"]) for told in refused} == {("agents", 5)}
    errors = [e["error_type"] for e in world.sink.of("tool.ended") if "error_type" in e]
    assert set(errors) == {"spawn_refused"}


async def test_agents_that_start_themselves_side_by_side_are_bounded(world: World) -> None:
    world.settings = {"spawn": {"agents": 20, "alive": 6}, "run": {"max_turns": 4, "jobs": 2}}
    world.agent("fork", lambda request: asks("fork", "fork", "fork"), **SPAWNS)
    await world.run("fork")
    assert len(world.started()) <= 1 + 20
    assert len(world.sink.of("agent.ended")) == len(world.started())


async def test_the_ledgers_agents_bound_what_is_started(world: World) -> None:
    lead = world.agent("lead", [asks("helper"), asks("helper"), "done"], **SPAWNS)
    world.agent("helper", ["ok"])
    report = await world.run("lead", budget=Limits(agents=2))
    assert report.results[0].ok
    assert [told["status"] for told in heard(lead)] == ["ok", "refused"]
    assert len(world.started()) == 2


async def test_an_agent_waits_without_keeping_others_from_working(world: World) -> None:
    """With one place to work, three levels of waiting agents come to their end."""
    world.settings = {"run": {"jobs": 1}}
    world.agent("a", [asks("b", "b"), "done"], **SPAWNS)
    world.agent("b", [asks("c", "c"), "done"], **SPAWNS)
    world.agent("c", ["leaf"])
    report = await world.run("a", "a")
    assert report.success_count == 2
    assert len(world.started()) == 2 * (1 + 2 + 4)


class Gauge:
    """Counts how many agents ask their model at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def model(self, answer: Callable[[ModelRequest], Any]) -> Any:
        gauge = self

        class Counted(ScriptedModel):
            async def complete(self, request: ModelRequest, **more: Any) -> Any:
                gauge.now += 1
                gauge.most = max(gauge.most, gauge.now)
                try:
                    return await super().complete(request, **more)
                finally:
                    gauge.now -= 1

        return Counted(answer, info=ModelInfo("fake/node", "fake", local=True), latency_s=0.002)


async def test_no_more_agents_work_at_once_than_jobs(world: World) -> None:
    gauge = Gauge()
    world.settings = {"run": {"jobs": 2}, "spawn": {"depth": 2}}
    world.agent("node", tree, **SPAWNS)
    world.models["fake/node"] = gauge.model(tree)
    report = await world.run("node")
    assert report.success_count == 1
    assert gauge.most == 2


# --- permission -----------------------------------------------------------------------------------


READS: Mapping[str, Any] = {"mcp": ["read_file"], "fs": {"read": True}}


async def test_an_agent_has_no_more_than_the_one_that_started_it(world: World) -> None:
    (world.place / "secret").mkdir()
    (world.place / "secret" / "b.txt").write_text("hidden\n", "utf-8")
    tools = {"mcp": ["delegate", "read_file"], "fs": {"read": ["a.txt"]}}
    world.agent("lead", [asks("reader"), "done"], tools=tools, spawn={"agents": ["reader"]})
    reader = world.agent(
        "reader",
        [[call("read_file", path="secret/b.txt")], [call("read_file", "x", path="a.txt")], "done"],
        tools=READS,
    )
    await world.run("lead")
    denied, read = [m for m in reader.requests[-1].messages if m.role == "tool"]
    assert denied.is_error
    assert "hidden" not in denied.content
    assert "alpha" in read.content


async def test_a_tool_that_the_asking_agent_lacks_does_not_exist_below_it(world: World) -> None:
    world.agent("lead", [asks("writer"), "done"], **SPAWNS)
    tools = {"mcp": ["write_file"], "fs": {"write": True}}
    writer = world.agent("writer", ["done"], tools=tools)
    await world.run("lead")
    assert writer.requests[0].tools == ()
    (started,) = [e for e in world.started() if e["agent_name"] == "writer"]
    assert started["attrs"]["fs_write"] == []


async def test_an_agent_that_is_not_granted_is_not_started(world: World) -> None:
    tools = {"mcp": ["delegate"]}
    lead = world.agent("lead", [asks("other"), "done"], tools=tools, spawn={"agents": ["helper"]})
    world.agent("helper", ["ok"])
    world.agent("other", ["never"])
    await world.run("lead")
    assert len(world.started()) == 1
    assert len(world.sink.of("security.denied")) == 1
    (schema,) = lead.requests[0].tools
    assert "- helper: helper things" in schema.description
    assert "other things" not in schema.description


async def test_a_grandchild_has_to_be_granted_from_the_top(world: World) -> None:
    tools = {"mcp": ["delegate"]}
    world.agent("a", [asks("b"), "done"], tools=tools, spawn={"agents": ["b"]})
    b = world.agent("b", ["done"], tools=tools, spawn={"agents": ["c"]})
    world.agent("c", ["never"])
    await world.run("a")
    assert b.requests[0].tools == ()


async def test_a_scope_that_may_not_be_read_is_refused_without_a_look(world: World) -> None:
    lead = world.agent(
        "lead",
        [asks("helper", scope=["missing.txt"]), asks("helper", scope=["../x"]), "d"],
        **SPAWNS,
    )
    world.agent("helper", ["ok"])
    await world.run("lead")
    assert len(world.started()) == 1
    answers = [m.content for m in lead.requests[-1].messages if m.role == "tool"]
    assert "may not read" in answers[0]


async def test_an_unknown_agent_is_answered_with_those_that_there_are(world: World) -> None:
    lead = world.agent("lead", [asks("helpr"), "done"], **SPAWNS)
    world.agent("helper", ["ok"])
    await world.run("lead")
    (answer,) = [m.content for m in lead.requests[-1].messages if m.role == "tool"]
    assert "helper" in answer


# --- limits, time and cancelling ------------------------------------------------------------------


async def test_a_budget_given_along_bounds_the_agent(world: World) -> None:
    lead = world.agent("lead", [asks("helper", budget=["100"]), "done"], **SPAWNS)
    world.agent("helper", ["never"])
    await world.run("lead", budget=Limits(tokens=200_000))
    (told,) = heard(lead)
    assert (told["status"], told["outcome"]) == ("error", "budget")


async def test_the_deadline_of_the_asking_agent_ends_those_below(world: World) -> None:
    world.agent("lead", [asks("slow"), "done"], **SPAWNS)
    world.agent("slow", ["never"], latency_s=60)
    report = await world.run(Task("lead", deadline_s=0.3))
    assert report.results[0].outcome is Outcome.DEADLINE
    assert sorted(str(e["status"]) for e in world.sink.of("agent.ended")) in (
        ["cancelled", "timeout"],
        ["timeout", "timeout"],
    )


async def test_cancelling_in_the_middle_leaves_nothing(world: World) -> None:
    world.agent("lead", [asks("mid", "mid"), "done"], **SPAWNS)
    world.agent("mid", [asks("slow", "slow"), "done"], **SPAWNS)
    world.agent("slow", ["never"], latency_s=60)
    handles: list[RunHandle] = []

    async def stop_when_all_work() -> None:
        while len(world.started()) < 7 or len(world.sink.of("model.requested")) < 7:
            await anyio.lowlevel.checkpoint()
        handles[0].cancel("enough")

    async with anyio.create_task_group() as group:
        group.start_soon(stop_when_all_work)
        report = await world.run("lead", on_start=handles.append, budget=Limits(tokens=500_000))
    assert report.results[0].outcome is Outcome.CANCELLED
    ended = world.sink.of("agent.ended")
    assert {e["agent_id"] for e in ended} == {e["agent_id"] for e in world.started()}
    assert {e["status"] for e in ended} == {"cancelled"}
    assert world.sink.kinds()[-1] == "run.ended"
    assert report.budget is not None
    assert report.budget.held.tokens == 0


@pytest.mark.bench
@pytest.mark.parametrize("begun", [3, 60, 211])
async def test_a_tree_of_two_hundred_agents_ends_within_seconds_whenever_it_is_cancelled(
    world: World, begun: int
) -> None:
    world.settings = {"spawn": {"agents": 300, "alive": 300, "rate": 300}, "run": {"jobs": 300}}
    world.agent("lead", [asks(*["mid"] * 14), "done"], **SPAWNS)
    world.agent("mid", [asks(*["slow"] * 14), "done"], **SPAWNS)
    world.agent("slow", ["never"], latency_s=60)
    handles: list[RunHandle] = []
    stopped = 0.0

    async def stop_when_so_many_work() -> None:
        nonlocal stopped
        while len(world.started()) < begun:
            await anyio.lowlevel.checkpoint()
        stopped = anyio.current_time()
        handles[0].cancel("enough")

    async with anyio.create_task_group() as group:
        group.start_soon(stop_when_so_many_work)
        report = await world.run("lead", on_start=handles.append, budget=Limits(tokens=50_000_000))
    assert anyio.current_time() - stopped < 5
    ended = [e["agent_id"] for e in world.sink.of("agent.ended")]
    assert sorted(ended) == sorted(e["agent_id"] for e in world.started())
    assert {e["status"] for e in world.sink.of("agent.ended")} == {"cancelled"}
    assert report.budget is not None
    assert report.budget.held == Amount()


async def test_one_agent_is_cancelled_with_those_below_it_and_no_other(world: World) -> None:
    world.agent("lead", [asks("mid", "quick"), "done"], **SPAWNS)
    world.agent("mid", [asks("slow"), "done"], **SPAWNS)
    world.agent("slow", ["never"], latency_s=60)
    world.agent("quick", ["ok"])
    handles: list[RunHandle] = []

    async def stop_one() -> None:
        while not any(e["agent_name"] == "slow" for e in world.sink.of("model.requested")):
            await anyio.lowlevel.checkpoint()
        (mid,) = [e for e in world.started() if e["agent_name"] == "mid"]
        assert handles[0].cancel_agent(str(mid["agent_id"]))

    async with anyio.create_task_group() as group:
        group.start_soon(stop_one)
        report = await world.run("lead", on_start=handles.append)
    assert report.results[0].ok
    outcomes = {each.agent: each.outcome for each in report.results[0].tree()}
    assert outcomes["mid"] is Outcome.CANCELLED
    assert outcomes["quick"] is Outcome.ANSWERED


async def test_the_state_of_a_run_tells_of_agents_below(world: World) -> None:
    handles: list[RunHandle] = []
    seen: list[Sequence[Mapping[str, Any]]] = []

    def look(request: ModelRequest) -> str:
        seen.append(handles[0].snapshot()["agent_states"])
        return "ok"

    world.agent("lead", [asks("helper"), "done"], **SPAWNS)
    world.agent("helper", look)
    await world.run("lead", on_start=handles.append)
    lead, helper = seen[0]
    assert (helper["agent"], helper["depth"]) == ("helper", 1)
    assert helper["parent_agent_id"] == lead["agent_id"]


# --- files ----------------------------------------------------------------------------------------


WRITES: Mapping[str, Any] = {"mcp": ["delegate", "write_file"], "fs": {"write": True}}


def writes(path: str, text: str) -> list[ToolCall]:
    return [call("write_file", path=path, content=text)]


async def test_what_an_agent_changed_is_for_the_agents_that_it_starts_to_change(
    world: World,
) -> None:
    lead = world.agent(
        "lead",
        [writes("new.txt", "one"), asks("second"), "done"],
        tools=WRITES,
        spawn={"agents": ["*"]},
    )
    second = world.agent(
        "second",
        [[call("write_file", path="new.txt", content="two", overwrite=_sha("one"))], "done"],
        tools={"mcp": ["write_file"], "fs": {"write": True}},
    )
    report = await world.run("lead")
    assert report.results[0].ok, report.results[0].error
    answers = [m.content for m in second.requests[-1].messages if m.role == "tool"]
    assert (world.place / "new.txt").read_text("utf-8") == "two", answers
    assert lead.requests


def _sha(text: str) -> str:
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()


async def test_artifacts_of_an_agent_below_are_reported_with_it(world: World) -> None:
    world.agent(
        "lead",
        [asks("maker"), "done"],
        tools={"mcp": ["delegate", "write_file"]},
        spawn={"agents": ["maker"]},
    )

    def make(request: ModelRequest) -> Any:
        if any(message.role == "tool" for message in request.messages):
            return "made"
        text = "\n".join(message.content for message in request.messages)
        (path,) = set(re.findall(r"\.sashizu/[^\s'\"`,]*report\.md", text))
        return writes(path, "# Report\n")

    world.agent("maker", make, tools={"mcp": ["write_file"]}, artifacts=["report.md"])
    report = await world.run("lead")
    (child,) = report.results[0].children
    assert child.ok, child.error
    (artifact,) = child.artifacts
    assert artifact.path.startswith(".sashizu/runs/")
    assert "/lead/" in artifact.path


def test_usage_of_a_run_counts_every_agent() -> None:
    from sashizu_core.types import AgentReport as Report
    from sashizu_core.types import Usage

    def of(tokens: int, *children: AgentReport) -> AgentReport:
        return Report(
            "a",
            "",
            "ok",
            Outcome.ANSWERED,
            "",
            (),
            (),
            (),
            Usage(tokens, 0),
            None,
            1,
            0.0,  # type: ignore[arg-type]
            children=children,
        )

    report = RunReport("", (), (), [of(1, of(2, of(4))), of(8)], None, 0.0)  # type: ignore[arg-type]
    assert report.usage.input_tokens == 15


async def test_no_agent_takes_longer_than_the_operator_lets_any(world: World) -> None:
    world.settings["run"] = {"agent_deadline": "0.2s"}
    world.agent("lead", [asks("kid"), "done"], **SPAWNS)
    world.agent("kid", ["late"], latency_s=30)
    report = await world.run("lead")
    lead, kid = report.results[0].tree()
    assert lead.status == "timeout"
    assert kid.status in ("timeout", "cancelled")  # by its own clock, or by that of its parent

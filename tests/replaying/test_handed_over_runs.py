"""Runs handed over to an executor: they give what local ones do, wherever they were cut off."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import anyio
import pytest
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.events import Event
from sashizu_core.executors import Work, WorkStatus
from sashizu_core.grants import ToolRequest
from sashizu_core.protocols import Approval, EventSink, Question
from sashizu_core.recorded import RecordedRun
from sashizu_core.runtime import delegate_parallel
from sashizu_core.runtime.handed_over import Workplace, operations_of
from sashizu_core.runtime.local_executor import LocalExecutor, local_executor
from sashizu_core.runtime.plain_report import run_report_from
from sashizu_core.settings import Settings
from sashizu_core.specs import ExecutorSpec, SinkSpec
from sashizu_core.testing.fakes import MemorySink, call
from sashizu_core.types import Limits, ModelRequest, RunReport, Task

from .conftest import World


@dataclass
class Record:
    """Keeps events and texts, and reads runs back, as the log of a worker does."""

    events: list[dict[str, Any]] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    persistent: bool = True
    keeps_content: bool = True

    def write(self, events: Sequence[Event]) -> None:
        for event in events:
            columns = {name: value for name, value in event.fields.items() if value is not None}
            self.events.append(json.loads(json.dumps({"kind": event.kind, **columns})))

    async def durable(self) -> None: ...

    def child_handoff(self) -> Mapping[str, str]:
        return {}

    def keep(self, text: str) -> str:
        digest = sha256(text.encode()).hexdigest()
        self.texts[digest] = text
        return digest

    def spec(self) -> SinkSpec:
        @asynccontextmanager
        async def open_() -> AsyncIterator[EventSink]:
            yield self

        return SinkSpec("record", "", open_, recorded=self.recorded)

    def recorded(self, key: str) -> RecordedRun:
        run_id = key.partition("/")[0]
        found = [event for event in self.events if event["run_id"] == run_id]
        if not found:
            raise UsageError(f"there is no run {run_id!r}")
        return RecordedRun(run_id, found, self.texts.get, {})


async def _handed_over(
    world: World, record: Record, *names: str, works: list[Work] | None = None, **options: Any
) -> RunReport:
    """A run whose executor is another than the local one, which `works` hears all of."""

    @asynccontextmanager
    async def open_(operations: Any) -> AsyncIterator[LocalExecutor]:
        async with local_executor(operations) as executor:
            if works is not None:
                taken = executor.submit

                async def submit(work: Work) -> None:
                    works.append(work)
                    await taken(work)

                executor.submit = submit  # type: ignore[method-assign]
            yield executor

    given = world.options()
    settings = Settings({**given["settings"].tables, "run": {"executor": "elsewhere"}})
    registry = replace(
        given["registry"],
        sinks={"record": record.spec()},
        executors={"elsewhere": ExecutorSpec("elsewhere", "", open_)},
    )
    given |= {"settings": settings, "registry": registry, **options}
    with anyio.fail_after(60):
        return await delegate_parallel(
            [Task(name, goal="Look.") for name in names], workspace=world.place, **given
        )


def _agents(world: World) -> None:
    """One that reads and has another look, which reads as well."""
    reads = {"tools": {"mcp": ["read_file"], "fs": {"read": ["."]}}}
    world.agent("looker", [[call("read_file", path="a.txt")], "It says alpha."], **reads)
    world.agent(
        "asker",
        [
            [call("read_file", path="a.txt")],
            [call("delegate", agent="looker", goal="Look at a.txt.")],
            "The other says alpha, too.",
        ],
        tools={"mcp": ["read_file", "delegate"], "fs": {"read": ["."]}},
        spawn={"agents": ["looker"]},
    )


async def _again(world: World, record: Record, work: Work) -> WorkStatus:
    """The same work, by a worker that finds a record."""
    registry = replace(world.options()["registry"], sinks={"record": record.spec()})
    async with local_executor(operations_of(Workplace(registry))) as executor:
        await executor.submit(work)
        with anyio.fail_after(30):
            return await executor.ended(work.key)


def _steps(events: Sequence[Mapping[str, Any]], kind: str) -> list[tuple[str, Any]]:
    return [(str(e.get("agent_id")), e.get("step")) for e in events if e["kind"] == kind]


async def test_a_run_that_is_handed_over_gives_what_a_local_one_gives(world: World) -> None:
    _agents(world)
    record, seen = Record(), MemorySink(persistent=False)
    here = await world.run("asker", "looker")
    there = await _handed_over(world, record, "asker", "looker", agents=world.agents, sinks=[seen])
    assert [each.answer for each in there.results] == [each.answer for each in here.results]
    assert [each.usage.requests for each in there.results] == [3, 2]
    assert [each.agent for each in there.results[0].tree()] == ["asker", "looker"]
    kinds = [event["kind"] for event in record.events]
    assert (kinds[0], kinds[-1]) == ("run.started", "run.ended")
    assert sorted(seen.kinds()) == sorted(kinds)
    assert {event["run_id"] for event in record.events} == {there.run_id}


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_run_goes_on_in_its_record_wherever_it_was_cut_off(world: World) -> None:
    _agents(world)
    record, works = Record(), list[Work]()
    limits = Limits(requests=8)
    report = await _handed_over(
        world, record, "asker", agents=world.agents, works=works, budget=limits
    )
    answer = report.results[0].answer
    for cut in range(len(record.events)):
        left = Record(record.events[:cut], dict(record.texts))
        status = await _again(world, left, works[0])
        assert status.state == "ok", (cut, status)
        found = run_report_from(status.result).results[0]
        assert (found.answer, found.status) == (answer, "ok"), (cut, found.error)
        for once in ("run.started", "run.ended", "agent.started", "agent.ended"):
            told = _steps(left.events, once)
            assert len(told) == len(set(told)) == (2 if once.startswith("agent") else 1), (
                cut,
                once,
            )
        for outcome in ("model.answered", "tool.ended"):
            told = _steps(left.events, outcome)
            assert len(told) == len(set(told)), (cut, outcome)
        begun = _steps(left.events, "model.requested")
        assert len(begun) <= len(set(begun)) + 1, cut  # the one that was cut off is made again
        assert len(begun) <= 8
        assert not any("replay_of" in event for event in left.events), cut


async def test_agents_share_the_budget_of_a_run_evenly(world: World) -> None:
    _agents(world)
    works: list[Work] = []
    report = await _handed_over(
        world,
        Record(),
        *["looker"] * 3,
        agents=world.agents,
        works=works,
        budget=Limits(requests=5),
    )
    shares = [agent["share"]["requests"] for agent in works[0].payload["agents"]]
    assert (sum(shares), sorted(shares)) == (5, [1, 2, 2])
    ends = sorted(each.outcome.value for each in report.results)
    assert ends == ["answered", "answered", "budget"]


async def test_the_same_agent_twice_writes_into_two_folders(world: World) -> None:
    world.agent("writer", ["Nothing."], artifacts=["note.md"])
    record = Record()
    await _handed_over(world, record, "writer", "writer", agents=world.agents)
    begun = [event for event in record.events if event["kind"] == "agent.started"]
    folders = {json.loads(record.texts[event["blobs"][0]])["folder"] for event in begun}
    assert {folder.rpartition("/")[2] for folder in folders} == {"writer", "writer-2"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"audit": False}, "--no-audit"),
        ({"rebalance": True}, "--rebalance"),
        ({"isolation": "else"}, "unknown isolation"),
    ],
)
async def test_what_only_this_process_can_do_is_refused(
    world: World, options: dict[str, Any], said: str
) -> None:
    _agents(world)
    with pytest.raises(SashizuError, match=said):
        await _handed_over(world, Record(), "looker", agents=world.agents, **options)


async def test_an_unknown_executor_is_told_with_the_known_ones(world: World) -> None:
    _agents(world)
    given = world.options()
    given["settings"] = Settings({"run": {"executor": "locl"}})
    with pytest.raises(UsageError, match=r"'locl' in 'run.executor'; did you mean 'local'"):
        await delegate_parallel(
            [Task("looker")], workspace=world.place, agents=world.agents, **given
        )


@pytest.mark.parametrize(
    ("root", "scope"),
    [("", ""), ("below/..", ""), ("below/link", ""), ("below", ".."), ("below", "link/a.txt")],
)
async def test_a_worker_lets_agents_work_below_its_roots_alone(
    world: World, root: str, scope: str
) -> None:
    _agents(world)
    works: list[Work] = []
    await _handed_over(world, Record(), "looker", agents=world.agents, works=works)
    below = world.place / "below"
    below.mkdir()
    (below / "link").symlink_to(world.place)
    payload = json.loads(json.dumps(works[0].payload))
    payload["asked"]["root"] = f"{world.place}/{root}".rstrip("/")
    payload["asked"]["tasks"][0]["scope"] = [scope] if scope else []
    registry = replace(world.options()["registry"], sinks={"record": Record().spec()})
    place = Workplace(registry, (below,))
    async with local_executor(operations_of(place)) as executor:
        await executor.submit(replace(works[0], payload=payload))
        with anyio.fail_after(30):
            status = await executor.ended(works[0].key)
    assert status.state == "error"
    assert "--root" in status.error


async def test_what_the_operators_of_both_machines_allow_bounds_an_agent(world: World) -> None:
    _agents(world)
    works: list[Work] = []
    given = world.options()
    tables = given["settings"].tables
    policy = {"ceiling": {"tools": {"mcp": ["read_file"], "fs": {"read": ["a.txt"]}}}}
    settings = Settings({**tables, "run": {"executor": "elsewhere"}, "policy": policy})
    record = Record()
    report = await _handed_over(
        world, record, "looker", agents=world.agents, works=works, settings=settings
    )
    assert report.results[0].ok, report.results[0].error
    assert works[0].payload["agents"][0]["ceiling"]


@pytest.mark.parametrize(("answer", "said"), [("once", "read"), ("deny", "refused")])
async def test_questions_come_to_who_handed_the_run_over(
    world: World, answer: Any, said: str
) -> None:
    asked: list[Question] = []

    class Answers:
        async def ask(self, question: Question) -> Approval:
            asked.append(question)
            return Approval(answer, "as I say", "a test")

    def told(request: ModelRequest) -> Any:
        last = request.messages[-1]
        if last.role != "tool":
            return [call("read_file", path="a.txt")]
        return "read" if "alpha" in last.content else "refused"

    world.agent("looker", told, tools={"mcp": ["read_file"], "fs": {"read": True}})
    rule = {"verdict": "ask", "touches": "tool", "pattern": "read_file", "reason": "mine"}
    tables = world.options()["settings"].tables
    run = {"executor": "elsewhere"}
    settings = Settings({**tables, "run": run, "policy": {"rule": [rule]}})
    report = await _handed_over(
        world,
        Record(),
        "looker",
        agents=world.agents,
        settings=settings,
        approver=Answers(),
    )
    assert report.results[0].answer == said, report.results[0].error
    assert [question.needing for question in asked] == [(ToolRequest("read_file"),)]

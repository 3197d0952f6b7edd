"""Interrupted runs that are gone on with: nothing that was done is done again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import anyio
import pytest
from pydantic import Field
from sashizu_audit.recorded import recorded_run
from sashizu_core.approval_file import ApprovalRule, WrittenApprovals
from sashizu_core.builtin import plugin as builtin
from sashizu_core.builtin.typed import Arguments, TypedTool
from sashizu_core.control import RunHandle
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.events import Event
from sashizu_core.grants import PermissionRequest
from sashizu_core.protocols import Approval, Question, Tool, ToolContext
from sashizu_core.repeating.reading import known_run
from sashizu_core.settings import Settings
from sashizu_core.specs import ToolSpec
from sashizu_core.testing.fakes import MemorySink, call
from sashizu_core.trust import TrustStore
from sashizu_core.types import Limits, ModelRequest, Outcome, StepKind, Task, ToolResult

READS: Mapping[str, Any] = {"tools": {"mcp": ["read_file"], "fs": {"read": True}}}
SENDS: Mapping[str, Any] = {"tools": {"mcp": ["read_file", "send"], "fs": {"read": True}}}
SPAWNS: Mapping[str, Any] = {"tools": {"mcp": ["delegate"]}, "spawn": {"agents": ["*"]}}


class SendArguments(Arguments):
    text: str = Field(description="What is sent.")


class Send(TypedTool[SendArguments]):
    """Has an effect that cannot be taken back; `while_sending` is called while it runs."""

    name = "send"
    description = "Sends something."
    arguments = SendArguments
    kind = StepKind.EFFECT

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []
        self.while_sending: Any = None

    def requests(
        self, arguments: SendArguments, context: ToolContext
    ) -> Sequence[PermissionRequest]:
        return []

    async def run(self, arguments: SendArguments, context: ToolContext) -> ToolResult:
        self.sent.append(arguments.text)
        if self.while_sending is not None:
            await self.while_sending()
        return ToolResult(f"sent {arguments.text}")


@pytest.fixture
def send(world: Any) -> Send:
    tool = Send()

    @asynccontextmanager
    async def open_() -> AsyncIterator[Tool]:
        yield tool

    world.tools["send"] = ToolSpec("send", "sends", open_)
    return tool


def turns(*answers: Any) -> Any:
    """A script that goes by how often the assistant has spoken, with calls where it crashes."""

    def answer(request: ModelRequest) -> Any:
        given = answers[sum(message.role == "assistant" for message in request.messages)]
        return given() if callable(given) else given

    return answer


async def test_what_was_done_before_a_crash_is_not_done_again(world: Any, send: Send) -> None:
    def crash() -> str:
        world.cut_off()
        return "done"

    model = world.agent("worker", turns([call("send", text="one")], crash), **SENDS)
    report = await world.run("worker")
    asked = len(model.requests)
    found = await world.resume(report.run_id)
    assert found.report.results[0].answer == "done"
    assert send.sent == ["one"]
    assert len(model.requests) == asked + 1  # the call that was cut off is made again
    (last,) = model.requests[asked:]
    assert [message.content for message in last.messages if message.role == "tool"] == ["sent one"]
    assert found.doubts == ()


async def test_the_new_record_rests_on_the_old_one(world: Any, send: Send) -> None:
    def crash() -> str:
        world.cut_off()
        return "done"

    world.agent("worker", turns([call("send", text="one")], crash), **SENDS)
    report = await world.run("worker")
    found = await world.resume(report.run_id)
    (begun,) = world.query(
        "SELECT attrs->>'resumes' AS run, CAST(attrs->'heads' AS VARCHAR) AS heads FROM events "
        f"WHERE kind = 'run.started' AND run_id = '{found.run_id}'"
    )
    (last,) = world.query(
        f"SELECT writer_id, max(seq) AS seq, max_by(h, seq) AS h FROM events "
        f"WHERE run_id = '{report.run_id}' GROUP BY writer_id"
    )
    assert begun["run"] == report.run_id
    for value in last.values():
        assert str(value) in begun["heads"]


async def test_a_call_that_was_cut_off_is_charged(world: Any) -> None:
    def crash() -> str:
        world.cut_off()
        return "done"

    world.agent("worker", turns([call("read_file", path="a.txt")], crash), **READS)
    report = await world.run("worker", budget=Limits(tokens=50_000))
    found = await world.resume(report.run_id)
    held = world.query(
        "SELECT max_by(budget_held, seq) AS held FROM events "
        f"WHERE kind = 'budget.held' AND run_id = '{report.run_id}'"
    )[0]["held"]
    first = world.query(
        f"SELECT sum(budget_spent) AS spent FROM events WHERE kind = 'budget.settled' "
        f"AND run_id = '{report.run_id}'"
    )[0]["spent"]
    assert found.report.results[0].doubtful_tokens == held
    begun = world.query(f"SELECT budget_limit FROM runs WHERE run_id = '{found.run_id}'")
    assert begun[0]["budget_limit"] == 50_000 - first - held


async def test_an_effect_in_doubt_is_told_and_not_repeated(world: Any, send: Send) -> None:
    async def crash() -> None:
        world.cut_off()

    send.while_sending = crash
    model = world.agent("worker", turns([call("send", text="one")], "looked"), **SENDS)
    report = await world.run("worker")
    asked = len(model.requests)
    found = await world.resume(report.run_id)
    assert send.sent == ["one"]
    assert [(doubt.agent, doubt.step, doubt.tool) for doubt in found.doubts] == [
        ("worker", 1, "send")
    ]
    (request,) = model.requests[asked:]
    (told,) = [message for message in request.messages if message.role == "tool"]
    assert told.is_error
    assert "is not known" in told.content
    (ended,) = world.query(
        "SELECT error_type FROM events WHERE kind = 'tool.ended' "
        f"AND run_id = '{found.run_id}' AND step = 1"
    )
    assert ended["error_type"] == "outcome_unknown"


class Answers:
    """Answers every question in the same way, and keeps them."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.questions: list[Question] = []

    async def ask(self, question: Question) -> Approval:
        self.questions.append(question)
        return Approval(self.answer, by="test")


@pytest.mark.parametrize(("answer", "sent"), [("once", ["one", "one"]), ("deny", ["one"])])
async def test_an_effect_in_doubt_is_asked_about(
    world: Any, send: Send, answer: str, sent: list[str]
) -> None:
    async def crash() -> None:
        world.cut_off()

    send.while_sending = crash
    world.agent("worker", turns([call("send", text="one")], "looked"), **SENDS)
    report = await world.run("worker")
    asked = Answers(answer)
    found = await world.resume(report.run_id, approver=asked)
    assert found.report.results[0].ok
    assert send.sent == sent
    (question,) = asked.questions
    assert question.tool == "send"
    assert "is not known" in question.reason


async def test_what_only_read_is_read_again(world: Any) -> None:
    def crash() -> Any:
        world.cut_off()
        return [call("read_file", path="a.txt")]

    model = world.agent("worker", turns(crash, "done"), **READS)
    report = await world.run("worker")
    (world.place / "a.txt").write_text("another\n", "utf-8")
    found = await world.resume(report.run_id)
    assert found.report.results[0].ok
    results = [m.content for m in model.requests[-1].messages if m.role == "tool"]
    assert "another" in results[0]


class Ends(MemorySink):
    """Sets `ended` when an agent has ended."""

    def __init__(self) -> None:
        super().__init__(persistent=False)
        self.ended = anyio.Event()

    def write(self, events: Sequence[Event]) -> None:
        if any(event.kind == "agent.ended" for event in events):
            self.ended.set()


async def test_agents_that_had_ended_keep_what_they_said(world: Any, send: Send) -> None:
    ends = Ends()
    quick = world.agent("quick", ["first"])

    def crash() -> str:
        world.cut_off()
        return "second"

    send.while_sending = ends.ended.wait
    slow = world.agent("slow", turns([call("send", text="one")], crash), **SENDS)
    report = await world.run("quick", "slow", sinks=[ends])
    found = await world.resume(report.run_id)
    assert [result.answer for result in found.report.results] == ["first", "second"]
    assert len(quick.requests) == 1
    assert len(slow.requests) == 3


async def test_agents_that_waited_begin_with_the_definitions_of_that_day(world: Any) -> None:
    def crash(_request: ModelRequest) -> str:
        world.cut_off()
        return "done"

    models = [world.agent("one", crash), world.agent("two", crash)]
    report = await world.run("one", "two", jobs=1)
    for model in models:
        model.requests.clear()
    found = await world.resume(report.run_id)  # no file says what they are any more
    assert [result.answer for result in found.report.results] == ["done", "done"]
    for name, model in zip(("one", "two"), models, strict=True):
        assert f"{name} things" in model.requests[0].messages[0].content


async def test_a_tree_is_gone_on_with_where_it_was(world: Any, send: Send) -> None:
    def crash() -> str:
        world.cut_off()
        return "helped"

    def helper(request: ModelRequest) -> Any:
        first = "first" in request.messages[1].content
        return turns([call("send", text="first" if first else "second")], "helped")(request)

    def second(request: ModelRequest) -> Any:
        return turns([call("send", text="third")], crash)(request)

    lead = turns(
        [
            call("delegate", "a", agent="helper", goal="first"),
            call("delegate", "b", agent="helper", goal="second"),
        ],
        [call("delegate", "c", agent="other", goal="third")],
        "all done",
    )
    world.agent("lead", lead, **SPAWNS)
    tools = {"tools": {"mcp": ["send"]}}
    world.agent("helper", helper, **tools)
    world.agent("other", second, **tools)
    tree = {**SPAWNS, "tools": {"mcp": ["delegate", "send"]}}
    world.agents[0] = world.agents[0].model_validate(
        {**world.agents[0].model_dump(exclude_defaults=True), **tree}
    )
    report = await world.run("lead", budget=Limits(tokens=900_000))
    assert report.results[0].ok, report.results[0].error
    assert sorted(send.sent) == ["first", "second", "third"]
    found = await world.resume(report.run_id)
    assert found.report.results[0].answer == "all done"
    assert sorted(send.sent) == ["first", "second", "third"]
    assert len(found.report.results[0].children) == 3


async def test_a_run_that_somebody_stopped_goes_on(world: Any, send: Send) -> None:
    handles: list[RunHandle] = []
    waiting = anyio.Event()

    async def wait() -> None:
        if len(send.sent) == 2:
            waiting.set()
            await anyio.sleep_forever()

    send.while_sending = wait
    script = turns([call("send", text="one")], [call("send", text="two")], "done")
    world.agent("worker", script, **SENDS)
    reports = []
    async with anyio.create_task_group() as group:

        async def run() -> None:
            reports.append(await world.run("worker", on_start=handles.append))

        group.start_soon(run)
        await waiting.wait()
        handles[0].cancel("enough")
    assert reports[0].results[0].outcome is Outcome.CANCELLED
    found = await world.resume(reports[0].run_id, crashed=False)
    assert found.report.results[0].answer == "done"
    assert send.sent == ["one", "two"]
    assert [doubt.step for doubt in found.doubts] == [3]


async def test_what_was_gone_on_with_can_be_gone_on_with(world: Any, send: Send) -> None:
    crashes = iter([world.left, world.left.with_name("again")])

    def crash() -> str:
        world.left = next(crashes, world.left)
        world.cut_off()
        return "done"

    script = turns([call("send", text="one")], crash)
    world.agent("worker", script, **SENDS)
    report = await world.run("worker", budget=Limits(tokens=90_000))
    first = await world.resume(report.run_id)
    second = await world.resume(first.run_id)
    assert second.report.results[0].answer == "done"
    assert second.goes_on_from == first.run_id
    assert send.sent == ["one"]
    limits = world.query("SELECT budget_limit AS n FROM runs ORDER BY started")
    assert limits[0]["n"] > limits[1]["n"] > limits[2]["n"]


async def test_a_run_that_has_ended_or_is_at_work_is_not_gone_on_with(world: Any) -> None:
    refused: list[str] = []

    def answer(_request: ModelRequest) -> str:
        world.cut_off()
        return "done"

    world.agent("worker", answer)
    report = await world.run("worker")
    with pytest.raises(UsageError, match="has ended with 'ok'"):
        await world.resume(report.run_id, crashed=False)
    with pytest.raises(UsageError, match="there is no run"):
        await world.resume("01234567", crashed=False)
    assert refused == []


async def test_what_was_not_kept_cannot_be_gone_on_with(world: Any) -> None:
    def answer(_request: ModelRequest) -> str:
        world.cut_off()
        return "done"

    world.content = "hashes"
    world.agent("worker", answer)
    report = await world.run("worker")
    with pytest.raises(SashizuError, match="content was not kept"):
        await world.resume(report.run_id)


async def test_the_limits_that_are_given_hold_for_all_of_the_run(world: Any) -> None:
    def crash() -> str:
        world.cut_off()
        return "done"

    world.agent("worker", turns([call("read_file", path="a.txt")], crash), **READS)
    report = await world.run(Task("worker"), budget=Limits(tokens=50_000))
    found = await world.resume(report.run_id, budget=Limits(tokens=1))
    assert found.report.results[0].outcome is Outcome.BUDGET


async def test_what_became_known_as_a_secret_is_not_recorded_once_more(
    world: Any, send: Send, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash() -> None:
        world.cut_off()

    send.while_sending = crash
    named = call("read_file", "call_Zq81-swordfish-0042", path="a.txt")
    world.agent("worker", turns([named], [call("send", text="one")], "looked"), **SENDS)
    report = await world.run("worker")
    monkeypatch.setenv("DEPLOY_TOKEN", "Zq81-swordfish-0042")
    found = await world.resume(report.run_id)
    told = world.query(
        "SELECT DISTINCT tool_call_id AS id FROM events "
        f"WHERE tool = 'read_file' AND run_id = '{found.run_id}'"
    )
    assert told
    assert not [each for each in told if "swordfish" in each["id"]]


async def test_a_run_is_gone_on_with_once(world: Any, send: Send) -> None:
    def crash() -> Any:
        world.cut_off()
        return [call("send", text="two")]

    world.agent("worker", turns([call("send", text="one")], crash, "done"), **SENDS)
    report = await world.run("worker")
    first = await world.resume(report.run_id)
    send.sent.clear()
    with pytest.raises(UsageError, match=f"already, as run {first.run_id}"):
        await world.resume(report.run_id, crashed=False)
    assert send.sent == []


async def test_a_run_is_gone_on_with_by_one_process_at_a_time(world: Any, send: Send) -> None:
    refused: list[str] = []

    def crash() -> str:
        world.cut_off()
        return "done"

    async def meanwhile() -> None:
        with pytest.raises(UsageError, match="another process goes on with run") as error:
            await world.resume(report.run_id, crashed=False)
        refused.append(str(error.value))

    world.agent("worker", turns([call("send", text="one")], crash), **SENDS)
    report = await world.run("worker")
    world.record = world.left
    known = recorded_run(world.record, report.run_id)
    with known.claimed() as before:
        assert before == ()
        await meanwhile()
    found = await world.resume(report.run_id, crashed=False)
    assert found.report.results[0].ok
    assert refused


async def test_a_replay_of_an_interrupted_run_is_not_gone_on_with(world: Any, send: Send) -> None:
    def crash() -> str:
        world.cut_off()
        return "done"

    world.agent("worker", turns([call("send", text="one")], crash), **SENDS)
    report = await world.run("worker")
    world.record = world.left
    again = await world.replay(report.run_id)
    with pytest.raises(UsageError, match=f"is a replay of run {report.run_id}"):
        await world.resume(again.run_id, crashed=False)


async def test_programs_are_held_as_the_settings_say_today(world: Any, send: Send) -> None:
    def crash() -> str:
        world.cut_off()
        return "done"

    world.agent("worker", turns([call("send", text="one")], crash), **SENDS)
    world.settings = {"run": {"sandbox": "none", "max_turns": 7}}
    report = await world.run("worker")
    world.settings = {}
    found = await world.resume(report.run_id)
    options = world.options()
    known = await known_run(options["registry"], found.run_id, recomputes=False)
    assert known.asked.tables["run"] == {"max_turns": 7}


async def test_what_an_interrupted_resume_had_not_come_to_is_not_done_again(
    world: Any, send: Send
) -> None:
    crashed = anyio.Event()
    records = [world.left]

    def worker_crash() -> str:
        world.cut_off()
        crashed.set()
        return "done"

    def slow_crash() -> str:
        if len(records) == 2:
            world.left = records[1]
            world.cut_off()
        return "slow done"

    async def wait() -> None:
        if send.sent[-1] == "slowly":
            await crashed.wait()

    send.while_sending = wait
    slow = world.agent("slow", turns([call("send", text="slowly")], slow_crash), **SENDS)
    world.agent("worker", turns([call("send", text="one")], worker_crash), **SENDS)
    report = await world.run("slow", "worker", jobs=2, budget=Limits(tokens=90_000))
    assert sorted(send.sent) == ["one", "slowly"]
    asked = len(slow.requests)
    records.append(world.left.with_name("again"))
    first = await world.resume(report.run_id, jobs=1)
    assert len(slow.requests) == asked + 1
    second = await world.resume(first.run_id)
    assert [result.answer for result in second.report.results] == ["slow done", "done"]
    assert sorted(send.sent) == ["one", "slowly"]
    limits = world.query("SELECT budget_limit AS n FROM runs ORDER BY started")
    assert limits[0]["n"] > limits[1]["n"] > limits[2]["n"] > 0


async def test_no_rule_that_was_written_beforehand_repeats_an_effect_in_doubt(
    world: Any, send: Send
) -> None:
    async def crash() -> None:
        world.cut_off()

    send.while_sending = crash
    world.agent("worker", turns([call("send", text="one")], "looked"), **SENDS)
    report = await world.run("worker")
    rule = ApprovalRule(verdict="allow", touches="tool", pattern="send")
    found = await world.resume(report.run_id, approver=WrittenApprovals("a file", (rule,)))
    assert found.report.results[0].ok
    assert send.sent == ["one"]


async def test_an_effect_stays_one_whatever_its_tool_says_by_now(world: Any, send: Send) -> None:
    async def crash() -> None:
        world.cut_off()

    send.while_sending = crash
    world.agent("worker", turns([call("send", text="one")], "looked"), **SENDS)
    report = await world.run("worker")
    send.kind = StepKind.IDEMPOTENT  # type: ignore[misc]
    await world.resume(report.run_id)
    assert send.sent == ["one"]


async def test_limits_that_are_given_hold_for_all_runs_that_went_on_from_one_another(
    world: Any,
) -> None:
    crashes = iter([world.left, world.left.with_name("again")])

    def crash() -> str:
        world.left = next(crashes, world.left)
        world.cut_off()
        return "done"

    world.agent("worker", turns([call("read_file", path="a.txt")], crash), **READS)
    report = await world.run("worker", budget=Limits(tokens=90_000))
    first = await world.resume(report.run_id)
    second = await world.resume(first.run_id, budget=Limits(tokens=90_000))
    assert second.report.results[0].ok
    limits = world.query("SELECT budget_limit AS n FROM runs ORDER BY started")
    assert limits[0]["n"] > limits[1]["n"] > limits[2]["n"]


async def test_a_run_is_not_gone_on_with_without_a_record(world: Any) -> None:
    with pytest.raises(UsageError, match="could be gone on with twice"):
        await world.resume("last", crashed=False, audit=False)


async def test_agents_of_a_repository_do_not_go_on_after_its_trust_was_taken_back(
    world: Any,
) -> None:
    def crash(request: ModelRequest) -> str:
        world.cut_off()
        return "done"

    model = world.agent("worker", crash)
    world.agents.clear()
    folder = world.place / ".sashizu" / "agents"
    folder.mkdir(parents=True)
    file = folder / "worker.yaml"
    file.write_text(f"name: worker\ngoal: Do it.\nmodel: {model.info.name}\n", "utf-8")
    world.offered["agents"] = {each.name: each for each in builtin.register_agents(Settings())}
    digest = sha256(file.read_bytes()).hexdigest()
    TrustStore().trust(world.place, {".sashizu/agents/worker.yaml": digest})
    report = await world.run("worker")
    TrustStore().revoke(world.place)
    with pytest.raises(UsageError, match=r"'worker' .* nothing is trusted any more"):
        await world.resume(report.run_id)
    TrustStore().trust(world.place, {"agent.md": "0" * 64})
    found = await world.resume(report.run_id, crashed=False)
    assert found.report.results[0].ok
    TrustStore().revoke(world.place)
    with pytest.raises(UsageError, match="nothing is trusted any more"):
        await world.fork(found.run_id, at=0)
    assert (await world.replay(found.run_id)).differences == ()

"""Runs without a ledger: what agents do to each other, to files and to the record."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_core.agents import AgentDefinition
from sashizu_core.builtin import plugin as builtin
from sashizu_core.control import RunHandle, cancel, list_runs, status
from sashizu_core.errors import MissingPackage, ModelError, RecordError, SashizuError, UsageError
from sashizu_core.plugins import Registry
from sashizu_core.runtime import delegate, delegate_parallel
from sashizu_core.settings import Settings
from sashizu_core.testing.fakes import (
    MemorySink,
    Script,
    ScriptedModel,
    call,
    scripted_model,
)
from sashizu_core.types import Limits, ModelInfo, Outcome, RunReport, Task


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


@pytest.fixture
def sink() -> MemorySink:
    return MemorySink()


def definition(name: str, **more: Any) -> AgentDefinition:
    return AgentDefinition.model_validate({"name": name, "goal": f"{name} things", **more})


class World:
    """Agents with a scripted model each, over core's own tools."""

    def __init__(self, place: Path, sink: MemorySink) -> None:
        self.place = place
        self.sink = sink
        self.models: dict[str, ScriptedModel] = {}
        self.agents: list[AgentDefinition] = []
        self.tools = {spec.name: spec for spec in builtin.register_tools(Settings())}

    def agent(self, name: str, script: Script, *, latency_s: float = 0.0, **more: Any) -> None:
        info = ModelInfo(f"fake/{name}", "fake", local=True, min_output_tokens=16)
        self.models[info.name] = ScriptedModel(script, info=info, latency_s=latency_s)
        self.agents.append(definition(name, model=info.name, **more))

    def registry(self) -> Registry:
        specs = {name: scripted_model(model) for name, model in self.models.items()}
        return Registry(models=specs, tools=self.tools)

    async def run(self, *names: str | Task, **options: Any) -> RunReport:
        tasks = [Task(name) if isinstance(name, str) else name for name in names]
        with anyio.fail_after(20):
            return await delegate_parallel(
                tasks,
                workspace=self.place,
                agents=self.agents,
                settings=Settings(),
                registry=self.registry(),
                sinks=[self.sink],
                audit=False,
                **options,
            )


@pytest.fixture
def world(place: Path, sink: MemorySink) -> World:
    return World(place, sink)


KEPT: Mapping[str, Any] = {"context": {"retention": "session"}}
READ: Mapping[str, Any] = {"mcp": ["read_file", "list_files"], "fs": {"read": True}}


async def test_agents_answer_in_the_order_asked_and_everything_is_recorded(
    world: World, sink: MemorySink
) -> None:
    world.agent("slow", ["one"], latency_s=0.05)
    world.agent("fast", ["two"])
    report = await world.run("slow", "fast")
    assert [(r.agent, r.answer) for r in report.results] == [("slow", "one"), ("fast", "two")]
    assert report.success_count == 2
    kinds = sink.kinds()
    assert kinds[0] == "run.started"
    assert kinds[-1] == "run.ended"
    assert kinds.count("agent.started") == kinds.count("agent.ended") == 2
    assert {fields["run_id"] for fields in map(dict, (e.fields for e in sink.events))} == {
        report.run_id
    }


async def test_an_agent_reads_real_files_through_its_tools(world: World) -> None:
    world.agent("reader", [[call("read_file", path="a.txt")], "read it"], tools=READ)
    report = await world.run("reader")
    assert report.results[0].answer == "read it"
    last = world.models["fake/reader"].requests[-1].messages[-1]
    assert "alpha" in last.content


async def test_a_file_outside_the_workspace_is_not_read(world: World, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden", "utf-8")
    world.agent("reader", [[call("read_file", path="../secret")], "done"], tools=READ)
    await world.run("reader")
    last = world.models["fake/reader"].requests[-1].messages[-1]
    assert last.is_error
    assert "hidden" not in last.content


async def test_a_scope_outside_the_workspace_can_be_read(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "b.txt").write_text("beta\n", "utf-8")
    world.agent("reader", [[call("read_file", path=str(other / "b.txt"))], "done"], tools=READ)
    await world.run(Task("reader", scope=(str(other),)))
    assert "beta" in world.models["fake/reader"].requests[-1].messages[-1].content


async def test_the_failure_of_one_agent_harms_no_other(world: World) -> None:
    world.agent("bad", [ModelError("no credit", fault="quota", status=429)])
    world.agent("good", ["fine"])
    bad, good = (await world.run("bad", "good")).results
    assert (bad.status, bad.outcome, bad.error) == (
        "error",
        Outcome.MODEL_FAILED,
        "quota: no credit",
    )
    assert good.ok


async def test_the_same_agent_twice_is_two_instances(world: World) -> None:
    world.agent("twin", ["hi"])
    first, second = (await world.run("twin", "twin")).results
    assert first.agent_id != second.agent_id
    assert first.ok
    assert second.ok


async def test_at_most_so_many_agents_work_at_once(world: World, sink: MemorySink) -> None:
    for name in ("a", "b", "c"):
        world.agent(name, ["x"], latency_s=0.01)
    await world.run("a", "b", "c", jobs=1)
    order = [e.kind for e in sink.events if e.kind.startswith("agent.")]
    assert order == ["agent.started", "agent.ended"] * 3


async def test_an_agent_past_its_deadline_is_a_timeout_and_its_siblings_go_on(
    world: World,
) -> None:
    world.agent("slow", ["never"], latency_s=60)
    world.agent("fast", ["done"])
    slow, fast = (await world.run(Task("slow", deadline_s=0.05), "fast")).results
    assert (slow.status, slow.outcome) == ("timeout", Outcome.DEADLINE)
    assert "0.05 s" in slow.error
    assert fast.ok


async def test_the_deadline_of_a_run_ends_running_and_waiting_agents(world: World) -> None:
    world.agent("a", ["never"], latency_s=60)
    report = await world.run("a", "a", "a", jobs=1, deadline_s=0.05)
    assert {result.outcome for result in report.results} == {Outcome.DEADLINE}


async def test_a_cancelled_run_reports_and_records_every_agent(
    world: World, sink: MemorySink
) -> None:
    world.agent("slow", ["never"], latency_s=60)

    def stop(handle: RunHandle) -> None:
        handle.cancel("stopped by a test")

    report = await world.run("slow", "slow", on_start=stop)
    assert {(r.status, r.error) for r in report.results} == {("cancelled", "stopped by a test")}
    assert sink.kinds().count("agent.ended") == 2


async def test_a_hard_cancellation_still_leaves_the_last_events(
    world: World, sink: MemorySink
) -> None:
    world.agent("slow", ["never"], latency_s=60)
    with anyio.fail_after(60):
        async with anyio.create_task_group() as group:
            group.start_soon(world.run, "slow")
            while "model.requested" not in sink.kinds():
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    assert sink.kinds()[-2:] == ["agent.ended", "run.ended"]
    assert sink.of("agent.ended")[0]["status"] == "cancelled"


async def test_a_declared_artifact_goes_to_the_runs_folder_unless_it_may_be_written_in_place(
    world: World, place: Path
) -> None:
    def write(request: Any) -> Any:
        brief = request.messages[0].content
        if request.messages[-1].role == "tool":
            return "written" if not request.messages[-1].is_error else request.messages[-1].content
        line = next(ln for ln in brief.splitlines() if ln.startswith("- ") and "report.md" in ln)
        return [call("write_file", path=line[2:].split(" (")[0], content="# report\n")]

    tools = {"mcp": ["write_file"], "fs": {"read": True}}
    world.agent("writer", write, tools=tools, artifacts=["report.md"])
    world.agent(
        "owner", write, tools={**tools, "fs": {"write": ["out"]}}, artifacts=["out/report.md"]
    )
    report = await world.run("writer", "owner")
    writer, owner = report.results
    assert writer.ok, writer
    assert owner.ok, owner
    (artifact,) = writer.artifacts
    assert artifact.path == f".sashizu/runs/{report.run_id}/writer/report.md"
    assert (place / artifact.path).read_text("utf-8") == "# report\n"
    assert artifact.bytes == 9
    assert (place / ".sashizu/runs/.gitignore").read_text("utf-8") == "*\n"
    assert not (place / "report.md").exists()
    assert (place / "out/report.md").exists()
    assert owner.artifacts[0].path == "out/report.md"


async def test_an_artifact_that_was_not_written_is_reported_missing(world: World) -> None:
    world.agent("lazy", ["I wrote it, honestly"], artifacts=["report.md"])
    result = (await world.run("lazy")).results[0]
    assert result.missing == ("report.md",)
    assert not result.ok
    assert "report.md" in result.error


async def test_an_artifact_that_was_there_before_and_that_nobody_wrote_is_missing(
    world: World, place: Path
) -> None:
    (place / "out").mkdir()
    (place / "out/old.md").write_text("old", "utf-8")
    world.agent("lazy", ["done"], artifacts=["a.txt", "out/*.md"], tools={"fs": {"write": ["."]}})
    result = (await world.run("lazy")).results[0]
    assert result.missing == ("a.txt", "out/*.md")
    assert result.artifacts == ()


async def test_an_artifact_that_is_written_again_with_the_same_bytes_is_the_agents(
    world: World,
) -> None:
    tools = {"mcp": ["write_file"], "fs": {"read": ["."], "write": ["."]}}
    known = sha256(b"alpha\n").hexdigest()
    again = call("write_file", path="a.txt", content="alpha\n", overwrite=known)
    script: Script = [[again], "done"]
    world.agent("writer", script, artifacts=["a.txt"], tools=tools)
    result = (await world.run("writer")).results[0]
    assert [artifact.path for artifact in result.artifacts] == ["a.txt"]


async def test_the_record_counts_all_artifacts_and_names_as_many_as_fit(
    world: World, sink: MemorySink
) -> None:
    calls = [
        [call("write_file", path=f"out/{'n' * 200}{i}-{j}", content="x") for j in range(10)]
        for i in range(20)
    ]
    tools = {"mcp": ["write_file"], "fs": {"write": ["."]}}
    world.agent("many", [*calls, "done"], artifacts=["out/*"], tools=tools)
    result = (await world.run("many")).results[0]
    assert len(result.artifacts) == 200
    ended: Any = next(e.fields["attrs"] for e in sink.events if e.kind == "agent.ended")
    assert ended["artifact_count"] == 200
    assert 100 < len(ended["artifacts"]) < 200


async def test_criteria_and_commands_are_reported(world: World) -> None:
    answer = 'ok\n```criteria\n[{"criterion": 1, "verdict": "met", "evidence": "a.txt:1"}]\n```'
    world.agent("judge", [answer], success_criteria=["is alpha"], verify=["pytest -q"])
    criteria = (await world.run("judge")).results[0].criteria
    assert [(c.text, c.verdict) for c in criteria] == [
        ("is alpha", "met"),
        ("verify: pytest -q", "not checked"),
    ]


async def test_a_conversation_goes_on_where_it_ended(world: World) -> None:
    heard = lambda r: f"heard {sum(m.role == 'user' for m in r.messages)}"  # noqa: E731
    world.agent("general", heard, policies=KEPT)
    first = (await world.run(Task("general", goal="one"))).results[0]
    assert first.conversation_id
    again = await world.run(
        Task("general", goal="two"), continue_conversation=first.conversation_id
    )
    assert again.results[0].answer == "heard 2"
    assert again.results[0].conversation_id == first.conversation_id


async def test_two_runs_that_continue_the_same_conversation_both_keep_what_was_said(
    world: World,
) -> None:
    world.agent("a", lambda _: "one", policies=KEPT)
    first = (await world.run("a")).results[0].conversation_id
    reports: list[RunReport] = []

    async def go_on() -> None:
        reports.append(await world.run("a", continue_conversation=first))

    world.agent("a", lambda _: "two", latency_s=0.02, policies=KEPT)
    del world.agents[0]
    async with anyio.create_task_group() as group:
        group.start_soon(go_on)
        group.start_soon(go_on)
    kept = {report.results[0].conversation_id for report in reports}
    assert len(kept) == 2
    assert first in kept
    assert sum("continued by another run" in " ".join(r.warnings) for r in reports) == 1


async def test_the_conversation_of_an_agent_that_does_not_ask_for_it_is_not_kept(
    world: World, tmp_path: Path
) -> None:
    world.agent("a", ["x"])
    assert (await world.run("a")).results[0].conversation_id == ""
    assert not (tmp_path / "home" / "conversations").exists()


async def test_streamed_text_is_passed_on_with_the_agent_it_comes_from(world: World) -> None:
    world.agent("talker", ["hello"])
    heard: list[tuple[str, str]] = []
    report = await world.run("talker", on_text=lambda agent, text: heard.append((agent, text)))
    assert heard == [(report.results[0].agent_id, "hello")]


async def test_a_run_can_be_watched_and_cancelled_from_outside(world: World) -> None:
    world.agent("slow", ["never"], latency_s=60)
    started = anyio.Event()
    reports: list[RunReport] = []

    async def work() -> None:
        reports.append(await world.run("slow", on_start=lambda _: started.set()))

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await started.wait()
        (info,) = list_runs()
        assert (info.status, info.agents) == ("running", ["slow"])
        seen = await status(info.run_id[:13])
        assert seen["run_id"] == info.run_id
        assert await cancel("last")
    assert reports[0].results[0].outcome is Outcome.CANCELLED
    (info,) = list_runs()
    assert (info.status, info.success_count) == ("cancelled", 0)
    assert not await cancel(info.run_id)


async def test_an_agent_that_is_cancelled_before_it_begins_calls_no_model(
    world: World, sink: MemorySink
) -> None:
    world.agent("slow", ["never"], latency_s=60)
    handles: list[RunHandle] = []

    async def stop() -> None:
        while "model.requested" not in sink.kinds():
            await anyio.sleep(0.001)
        handles[0].cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(stop)
        report = await world.run(*["slow"] * 20, jobs=1, on_start=handles.append)

    assert [r.outcome for r in report.results] == [Outcome.CANCELLED] * 20
    assert sink.kinds().count("model.requested") == 1
    assert report.usage.requests == 1


async def test_an_agent_that_waits_can_be_cancelled_alone(world: World) -> None:
    world.agent("first", ["one"], latency_s=0.05)
    world.agent("second", ["two"])
    found: list[bool] = []

    def stop_second(handle: RunHandle) -> None:
        second = handle.snapshot()["agent_states"][1]["agent_id"]
        found.append(handle.cancel_agent(second))

    report = await world.run("first", "second", jobs=1, on_start=stop_second)

    assert found == [True]
    assert [r.outcome for r in report.results] == [Outcome.ANSWERED, Outcome.CANCELLED]


async def test_the_record_says_how_a_run_ended(world: World, sink: MemorySink) -> None:
    world.agent("good", ["x"])
    world.agent("bad", [ModelError("gone", fault="invalid_request")])
    await world.run("good")
    await world.run("good", "bad")
    world.agent("slow", ["never"], latency_s=60)
    await world.run("slow", deadline_s=0.01)
    ended = [event.fields["status"] for event in sink.events if event.kind == "run.ended"]
    assert ended == ["ok", "error", "timeout"]


async def test_a_conversation_that_cannot_be_kept_costs_nobody_the_report(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "conversations").write_text("in the way")
    world.agent("a", ["answer"], policies=KEPT)
    report = await world.run("a")
    assert report.results[0].answer == "answer"
    assert report.results[0].conversation_id == ""
    assert "cannot keep the conversation" in report.warnings[0]


async def test_a_state_folder_that_cannot_be_used_is_told_before_anything_happens(
    world: World, tmp_path: Path, sink: MemorySink
) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "runs").write_text("in the way")
    world.agent("a", ["answer"])
    with pytest.raises(SashizuError, match="SASHIZU_HOME"):
        await world.run("a")
    assert not sink.events


async def test_a_conversation_goes_on_with_its_model(world: World) -> None:
    world.agent("a", lambda _: "one", policies=KEPT)
    world.agent("other", lambda _: "x")
    first = await world.run(Task("a", model="fake/other"))
    again = await world.run(
        Task("a", goal="go on"), continue_conversation=first.results[0].conversation_id
    )
    assert again.results[0].answer == "x"
    assert len(world.models["fake/other"].requests) == 2


async def test_an_unknown_run_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no run 'x'"):
        await status("x")


# --- one agent's trouble --------------------------------------------------------------------------

DEEP = "[" * 5_000


@pytest.mark.parametrize(
    ("answer", "more"),
    [
        (f"```criteria\n{DEEP}\n```", {"success_criteria": ["it is good"]}),
        (f'{{"a": {DEEP}', {"output": {"type": "object"}}),
        ('{"a": "b"}', {"output": {"$ref": "#/nowhere"}}),
        ('{"a": "b"}', {"output": {"$ref": "#"}}),
    ],
    ids=["criteria", "output", "reference", "endless reference"],
)
async def test_an_answer_that_cannot_be_read_ends_one_agent_and_no_other(
    world: World, answer: str, more: Mapping[str, Any]
) -> None:
    world.agent("odd", lambda _: answer, **more)
    world.agent("good", ["fine"])
    odd, good = (await world.run("odd", "good")).results
    assert good.answer == "fine"
    assert odd.outcome in (Outcome.ANSWERED, Outcome.FAILED)


async def test_an_error_that_nobody_expected_ends_one_agent_with_what_it_has_used(
    world: World, sink: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("nobody expected that")

    monkeypatch.setattr("sashizu_core.turn.loop.read_answer", broken)
    world.agent("a", ["x"])
    result = (await world.run("a")).results[0]
    assert result.outcome is Outcome.FAILED
    assert "unexpected ZeroDivisionError" in result.error
    assert result.usage.requests == 1
    ended: Any = next(e.fields for e in sink.events if e.kind == "agent.ended")
    assert ended["status"] == "error"
    assert ended["attrs"]["requests"] == 1


async def test_an_agent_that_is_cancelled_from_outside_is_recorded_with_what_it_used(
    world: World, sink: MemorySink
) -> None:
    world.agent("slow", [[call("read_file", path="a.txt")], "x"], latency_s=0.05, tools=READ)
    async with anyio.create_task_group() as group:
        group.start_soon(world.run, "slow")
        while "tool.decided" not in sink.kinds():
            await anyio.sleep(0.001)
        group.cancel_scope.cancel()
    ended: Any = next(e.fields for e in sink.events if e.kind == "agent.ended")
    assert ended["status"] == "cancelled"
    assert ended["attrs"]["requests"] >= 1


# --- what is refused before anything happens ------------------------------------------------------


async def test_no_agent_at_all_is_refused(world: World) -> None:
    with pytest.raises(UsageError, match="no agent"):
        await world.run()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "at least one agent"),
        ({"deadline_s": -1.0}, "above 0"),
        ({"deadline_s": float("nan")}, "above 0"),
        ({"run_id": "../../x"}, "UUID"),
    ],
)
async def test_what_no_run_can_be_made_of_is_refused(
    world: World, sink: MemorySink, options: Mapping[str, Any], message: str
) -> None:
    world.agent("a", ["x"])
    with pytest.raises(UsageError, match=message):
        await world.run("a", **options)
    assert not sink.events


async def test_inputs_that_are_no_text_are_refused(world: World) -> None:
    world.agent("a", ["x"])
    inputs: Any = {"a": object()}
    with pytest.raises(UsageError, match="have to be text"):
        await world.run(Task("a", inputs=inputs))


async def test_an_unknown_agent_lists_near_names(world: World) -> None:
    world.agent("code-reviewer", ["x"])
    with pytest.raises(UsageError, match="did you mean 'code-reviewer'"):
        await world.run("code-reviwer")


async def test_an_unknown_model_is_refused(world: World) -> None:
    world.agent("a", ["x"])
    with pytest.raises(UsageError, match="unknown model 'nope'"):
        await world.run("a", model="nope")


async def test_a_scope_that_does_not_exist_is_refused(world: World) -> None:
    world.agent("a", ["x"])
    with pytest.raises(UsageError, match=r"scope 'missing' does not exist"):
        await world.run(Task("a", scope=("missing",)))


async def test_a_workspace_that_is_no_folder_is_refused(world: World) -> None:
    world.agent("a", ["x"])
    world.place = world.place / "a.txt"
    with pytest.raises(UsageError, match="no folder"):
        await world.run("a")


async def test_a_budget_without_the_budget_package_is_refused(world: World) -> None:
    world.agent("a", ["x"])
    with pytest.raises(MissingPackage, match="sashizu-budget"):
        await world.run("a", budget=Limits(tokens=5))
    world.agent("b", ["x"], budget={"tokens": 5})
    with pytest.raises(MissingPackage, match="sashizu-budget"):
        await world.run("b")


async def test_an_isolation_that_cannot_be_set_up_is_refused(world: World) -> None:
    world.agent("a", ["x"], isolation="worktree")
    with pytest.raises(MissingPackage, match="sashizu-sandbox"):
        await world.run("a")


async def test_an_isolation_that_nobody_offers_is_refused_with_what_there_is(world: World) -> None:
    world.agent("a", ["x"], isolation="container")
    with pytest.raises(UsageError, match=r"unknown isolation 'container'.*known: auto, none"):
        await world.run("a")


async def test_a_run_without_a_durable_sink_is_refused(world: World) -> None:
    world.agent("a", ["x"])
    with pytest.raises(MissingPackage, match="sashizu-audit"):
        await delegate(
            Task("a"),
            workspace=world.place,
            agents=world.agents,
            settings=Settings(),
            registry=world.registry(),
        )


async def test_a_record_that_cannot_be_written_stops_the_run_before_anything_happens(
    place: Path,
) -> None:
    class Full(MemorySink):
        def write(self, events: Any) -> None:
            raise RecordError("no space left on device")

    world = World(place, Full())
    world.agent("writer", [[call("write_file", path="b.txt", content="x")], "done"])
    with pytest.raises(RecordError, match="no space"):
        await world.run("writer")
    assert not (place / "b.txt").exists()


async def test_a_record_that_fills_up_in_the_middle_stops_all_agents_before_the_next_effect(
    place: Path,
) -> None:
    class Filling(MemorySink):
        def write(self, events: Any) -> None:
            if any(event.kind == "tool.requested" for event in events):
                raise RecordError("no space left on device")
            super().write(events)

    world = World(place, Filling())
    tools = {"mcp": ["write_file"], "fs": {"write": True}}
    world.agent("writer", [[call("write_file", path="b.txt", content="x")], "done"], tools=tools)
    with pytest.raises(RecordError, match="no space"):
        await world.run("writer")
    assert not (place / "b.txt").exists()

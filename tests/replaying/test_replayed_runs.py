"""Runs that are made once more from their record: the same events, and nothing of the outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anyio
import duckdb
import pytest
from sashizu_audit.blobs import blob_path
from sashizu_audit.sealing import seal_record
from sashizu_core import prompt
from sashizu_core.errors import ModelError, SashizuError, UsageError
from sashizu_core.repeating import Replay, replay
from sashizu_core.testing.fakes import ScriptedModel, call
from sashizu_core.turn import permitting
from sashizu_core.types import (
    Completion,
    Decision,
    Limits,
    ModelRequest,
    Outcome,
    RunReport,
    Task,
    ToolCall,
)

SPAWNS: Mapping[str, Any] = {"tools": {"mcp": ["delegate"]}, "spawn": {"agents": ["*"]}}


def asks(*agents: str, **more: Any) -> list[ToolCall]:
    """Calls of `delegate` in one answer."""
    return [
        call("delegate", f"call_{at}", agent=agent, goal="do a part", **more)
        for at, agent in enumerate(agents)
    ]


READS: Mapping[str, Any] = {"tools": {"mcp": ["read_file", "grep"], "fs": {"read": True}}}
WRITES: Mapping[str, Any] = {
    "tools": {"mcp": ["read_file", "write_file"], "fs": {"read": True, "write": ["out"]}}
}


def assert_same(found: Replay, of: RunReport) -> None:
    assert found.differences == ()
    assert found.compared > 0
    assert found.replay_of == of.run_id
    assert found.run_id != of.run_id
    for was, now in zip(of.results, found.report.results, strict=True):
        assert (now.agent, now.status, now.outcome) == (was.agent, was.status, was.outcome)
        assert (now.answer, now.criteria, now.steps) == (was.answer, was.criteria, was.steps)
        assert (now.usage, now.doubtful_tokens) == (was.usage, was.doubtful_tokens)
        assert now.artifacts == was.artifacts


async def test_a_replay_gives_the_same_answer_and_the_same_events(world: Any) -> None:
    world.agent("reader", [[call("read_file", path="a.txt")], "it says alpha"], **READS)
    report = await world.run("reader")
    found = await world.replay(report.run_id)
    assert_same(found, report)
    assert found.report.results[0].answer == "it says alpha"


async def test_a_replay_reads_and_writes_no_file(world: Any) -> None:
    script = [
        [call("read_file", path="a.txt"), call("write_file", path="out/b.txt", content="beta")],
        "done",
    ]
    world.agent("writer", script, artifacts=["out/b.txt"], **WRITES)
    report = await world.run("writer")
    assert report.results[0].ok, report.results[0].error
    (world.place / "out" / "b.txt").unlink()
    (world.place / "a.txt").write_text("another\n", "utf-8")
    assert_same(await world.replay(report.run_id), report)
    assert not (world.place / "out" / "b.txt").exists()


async def test_a_replay_needs_no_workspace(world: Any) -> None:
    world.agent("reader", [[call("read_file", path="a.txt")], "it says alpha"], **READS)
    report = await world.run(Task("reader", scope=("a.txt",)))
    (world.place / "a.txt").unlink()
    world.place.rmdir()
    assert_same(await world.replay(report.run_id), report)


async def test_a_replay_costs_nothing_in_the_views(world: Any) -> None:
    world.agent("reader", [[call("read_file", path="a.txt")], "done"], **READS)
    report = await world.run("reader")
    before = world.query("SELECT sum(tokens) AS tokens FROM token_usage")
    found = await world.replay(report.run_id)
    assert world.query("SELECT sum(tokens) AS tokens FROM token_usage") == before
    told = world.query(
        "SELECT count(*) AS n, min(CAST(replay_of AS VARCHAR)) AS old, "
        "max(CAST(replay_of AS VARCHAR)) AS new FROM events "
        f"WHERE run_id = '{found.run_id}' AND replay_of IS NOT NULL"
    )
    assert told[0]["n"] >= found.compared
    assert told[0]["old"] == told[0]["new"] == report.run_id


async def test_a_tree_of_agents_is_replayed_whoever_ran_first(world: Any) -> None:
    def helper(request: ModelRequest) -> str:
        return f"helped with {request.messages[-1].content}"

    lead = [
        [
            call("delegate", "one", agent="helper", goal="first part"),
            call("delegate", "two", agent="helper", goal="second part"),
            call("delegate", "three", agent="helper", goal="first part"),
        ],
        "all done",
    ]
    world.agent("lead", lead, **SPAWNS)
    world.agent("helper", helper, latency_s=0.01)
    report = await world.run("lead", "lead", budget=Limits(tokens=300_000))
    assert report.success_count == 2
    found = await world.replay(report.run_id)
    assert_same(found, report)
    assert [len(result.children) for result in found.report.results] == [3, 3]


async def test_what_was_refused_failed_and_was_malformed_is_replayed(world: Any) -> None:
    script: list[Any] = [
        [call("read_file", "one", path="/etc/passwd"), call("nothing", "two")],
        [ToolCall("three", "read_file", "{")],
        ModelError("cut", fault="transport", sent=True),
        "done",
    ]
    turns = iter(script)

    def answer(_request: ModelRequest) -> Any:
        return next(turns)

    world.agent("reader", answer, **READS)
    report = await world.run("reader", budget=Limits(tokens=300_000))
    assert report.results[0].ok, report.results[0].error
    assert_same(await world.replay(report.run_id), report)


async def test_an_agent_whose_budget_ended_is_replayed(world: Any) -> None:
    turns = [[call("read_file", f"c{n}", path="a.txt")] for n in range(40)]
    world.agent("reader", turns, **READS)
    report = await world.run("reader", budget=Limits(tokens=9_000))
    assert report.results[0].outcome is Outcome.BUDGET
    assert_same(await world.replay(report.run_id), report)


async def test_agents_that_share_a_budget_are_replayed(world: Any) -> None:
    turns: list[Any] = [[call("read_file", f"c{n}", path="a.txt")] for n in range(5)]
    for number in range(4):
        world.agent(f"reader{number}", [*turns, "done"], latency_s=0.003 * number, **READS)
    report = await world.run(*(f"reader{n}" for n in range(4)), budget=Limits(tokens=30_000))
    assert_same(await world.replay(report.run_id), report)


async def test_an_agent_that_was_stopped_is_replayed(world: Any) -> None:
    world.agent("slow", ["never"], latency_s=30)
    report = await world.run(Task("slow", deadline_s=0.2))
    assert report.results[0].outcome is Outcome.DEADLINE
    assert_same(await world.replay(report.run_id), report)


PLAN = json.dumps(
    {
        "steps": [
            {"id": "s1", "agent": "one", "goal": "find", "after": []},
            {"id": "s2", "agent": "two", "goal": "look", "after": []},
            {"id": "s3", "agent": "one", "goal": "join", "after": ["s1", "s2"]},
        ]
    }
)


async def test_what_a_supervisor_directed_is_replayed(world: Any) -> None:
    world.agent("one", lambda request: f"heard {len(request.messages)}")
    world.agent("two", lambda _request: "looked", latency_s=0.01)
    planner = world.agent("planning", [PLAN])
    found = await world.supervise(
        "do it", agents=["one", "two"], model=planner.info.name, budget=Limits(tokens=900_000)
    )
    assert found.plan is not None
    assert len(found.run.results) == 4
    again = await world.replay(found.run.run_id)
    assert again.differences == ()
    was = sorted((each.agent, each.answer) for each in found.run.results)
    assert sorted((each.agent, each.answer) for each in again.report.results) == was


# --- what comes out differently -------------------------------------------------------------------


async def test_a_prompt_that_is_written_differently_is_told_by_agent_and_step(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.agent("reader", [[call("read_file", path="a.txt")], "done"], **READS)
    report = await world.run("reader")
    monkeypatch.setattr(prompt, "_ANSWER_RULES", "Answer in verse.")
    found = await world.replay(report.run_id)
    (difference,) = found.differences
    assert (difference.agent, difference.step) == ("reader", 0)
    assert "Text that comes out of tools" in difference.recorded
    assert "Answer in verse." in difference.asked
    assert difference.exit_code == 4
    assert not found.same


async def test_a_call_that_is_judged_differently_is_told_and_not_made(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = [[call("read_file", path="a.txt")], "done"]
    world.agent("reader", script, **READS)
    report = await world.run("reader")

    def deny(*_args: Any) -> Decision:
        return Decision("deny", "not today", "a new rule", "rule")

    monkeypatch.setattr(permitting, "authorize", deny)
    found = await world.replay(report.run_id)
    (difference,) = found.differences
    assert (difference.agent, difference.step) == ("reader", 1)
    assert "decision='allow'" in difference.recorded
    assert "decision='deny'" in difference.asked


async def test_siblings_of_an_agent_that_diverges_are_replayed(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.agent("reader", ["done"], success_criteria=["It reads."])
    world.agent("other", ["done too"])
    report = await world.run("reader", "other")
    monkeypatch.setattr(prompt, "_CRITERIA_RULES", "Judge nothing.")
    found = await world.replay(report.run_id)
    assert [difference.agent for difference in found.differences] == ["reader"]
    assert found.report.results[1].answer == "done too"


# --- what cannot be replayed ----------------------------------------------------------------------


@pytest.mark.parametrize("content", ["hashes", "none"])
async def test_without_content_there_is_no_replay(world: Any, content: str) -> None:
    world.content = content
    world.agent("reader", ["done"])
    report = await world.run("reader")
    with pytest.raises(SashizuError, match='Set content = "blobs"'):
        await world.replay(report.run_id)


async def test_content_that_is_gone_or_was_changed_is_named(world: Any) -> None:
    world.agent("reader", [[call("read_file", path="a.txt")], "done"], **READS)
    report = await world.run("reader")
    (row,) = world.query("SELECT blobs[1] AS blob FROM events WHERE kind = 'tool.ended'")
    path = blob_path(world.record, row["blob"])
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b"alpha", b"omega"))
    with pytest.raises(SashizuError, match=f"the text {row['blob'][:12]} .* is not kept any more"):
        await world.replay(report.run_id)
    path.unlink()
    with pytest.raises(SashizuError, match=f"the text {row['blob'][:12]} .* is not kept any more"):
        await world.replay(report.run_id)
    path.write_bytes(kept)
    assert_same(await world.replay(report.run_id), report)


async def test_a_record_that_was_changed_is_not_replayed(world: Any) -> None:
    world.agent("reader", [[call("read_file", path="a.txt")], "done"], **READS)
    report = await world.run("reader")
    (segment,) = (world.record / "hot").glob("*.jsonl")
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b'"tool":"read_file"', b'"tool":"read_f1le"', 1))
    with pytest.raises(SashizuError, match="is not as it was written"):
        await world.replay(report.run_id)


async def test_only_a_whole_run_that_is_there_is_replayed(world: Any) -> None:
    with pytest.raises(UsageError, match="there is no run"):
        await world.replay("last")
    world.agent("reader", ["done"])
    first = await world.run("reader")
    await world.run("reader")
    with pytest.raises(UsageError, match="names 2 runs"):
        await world.replay(first.run_id[:4])
    assert_same(await world.replay(first.run_id), first)


async def test_a_run_that_is_at_work_is_not_replayed(world: Any) -> None:
    refused: list[str] = []
    told = anyio.Event()

    class Waits(ScriptedModel):
        async def complete(self, request: ModelRequest, **more: Any) -> Completion:
            run_id = world.query("SELECT CAST(run_id AS VARCHAR) AS id FROM runs")[0]["id"]
            with pytest.raises(SashizuError, match="is still at work") as found:
                await replay(run_id, **world.options())
            refused.append(str(found.value))
            told.set()
            return await super().complete(request, **more)

    model = world.agent("reader", ["done"])
    world.models[model.info.name] = Waits(["done"], info=model.info)
    await world.run("reader")
    assert told.is_set()
    assert refused


async def test_a_replay_is_replayed(world: Any) -> None:
    world.agent("reader", [[call("read_file", path="a.txt")], "done"], **READS)
    report = await world.run("reader", budget=Limits(tokens=60_000))
    first = await world.replay(report.run_id)
    assert_same(await world.replay(first.run_id), first.report)


async def test_a_sealed_record_is_replayed(world: Any) -> None:
    world.agent("reader", [[call("read_file", path="a.txt")], "done"], **READS)
    report = await world.run("reader")
    seal_record(world.record)
    assert_same(await world.replay(report.run_id), report)


async def test_a_record_whose_sealed_part_was_changed_is_not_replayed(world: Any) -> None:
    world.agent("reader", [[call("read_file", path="a.txt")], "done"], **READS)
    report = await world.run("reader")
    seal_record(world.record)
    (table,) = world.record.rglob("*.parquet")
    forged = table.with_name("forged")
    some = f"SELECT * FROM '{table}' WHERE run_id IS NOT NULL LIMIT 2"
    duckdb.sql(f"COPY ({some}) TO '{forged}' (FORMAT parquet)")
    forged.replace(table)
    with pytest.raises(SashizuError, match="is not as it was written"):
        await world.replay(report.run_id)

"""Runs that go on from a step of another: with its history, another model, another budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sashizu_core.control import RunHandle
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.testing.fakes import call
from sashizu_core.types import Limits, ModelRequest, Outcome

READS: Mapping[str, Any] = {"tools": {"mcp": ["read_file"], "fs": {"read": True}}}
SPAWNS: Mapping[str, Any] = {"tools": {"mcp": ["delegate"]}, "spawn": {"agents": ["*"]}}


def turns(*answers: Any) -> Any:
    def answer(request: ModelRequest) -> Any:
        return answers[sum(message.role == "assistant" for message in request.messages)]

    return answer


def reads(name: str) -> list[Any]:
    return [call("read_file", name, path="a.txt")]


async def test_history_until_a_step_is_taken_and_the_rest_is_made_anew(world: Any) -> None:
    model = world.agent("worker", turns(reads("one"), reads("two"), "done"), **READS)
    report = await world.run("worker", budget=Limits(tokens=50_000))
    assert report.results[0].steps == 5
    asked = len(model.requests)
    (world.place / "a.txt").write_text("another\n", "utf-8")
    found = await world.fork(report.run_id, at=3)  # the second reading
    assert found.report.results[0].answer == "done"
    (request,) = model.requests[asked:]
    first, second = [m.content for m in request.messages if m.role == "tool"]
    assert "alpha" in first
    assert "another" in second


async def test_another_model_goes_on(world: Any) -> None:
    world.agent("worker", turns(reads("one"), "done"), **READS)
    other = world.agent("other", turns(reads("one"), "done by another"))
    report = await world.run("worker")
    found = await world.fork(report.run_id, at=2, model=other.info.name)
    assert found.report.results[0].answer == "done by another"
    assert len(other.requests) == 1
    calls = world.query(
        f"SELECT step, model, replay_of IS NOT NULL AS old FROM model_calls "
        f"WHERE run_id = '{found.run_id}' ORDER BY step"
    )
    assert calls == [
        {"step": 0, "model": "fake/worker", "old": True},
        {"step": 2, "model": "fake/other", "old": False},
    ]


async def test_another_budget_bounds_what_is_new(world: Any) -> None:
    world.agent("worker", turns(*[reads(f"c{n}") for n in range(9)], "done"), **READS)
    report = await world.run("worker", budget=Limits(tokens=200_000))
    found = await world.fork(report.run_id, at=10, budget=Limits(tokens=3_500))
    (result,) = found.report.results
    assert result.outcome is Outcome.BUDGET
    assert found.report.budget is not None
    assert found.report.budget.spent.tokens <= 3_500


async def test_whoever_started_the_agent_hears_of_the_new_end(world: Any) -> None:
    said = iter(["old", "new"])
    lead = world.agent(
        "lead",
        turns([call("delegate", "a", agent="helper", goal="help")], "done"),
        **SPAWNS,
    )
    world.agent("beside", ["beside"])
    world.agent("helper", lambda _request: next(said))
    report = await world.run("lead", "beside", budget=Limits(tokens=300_000))
    asked = len(lead.requests)
    found = await world.fork(report.run_id, at=0, agent="helper")
    (request,) = lead.requests[asked:]
    (told,) = [m.content for m in request.messages if m.role == "tool"]
    assert '"answer": "new"' in told
    assert [result.answer for result in found.report.results] == ["done", "beside"]
    assert len(world.models["fake/beside"].requests) == 1


async def test_a_run_that_was_forked_is_replayed(world: Any) -> None:
    world.agent("worker", turns(reads("one"), reads("two"), "done"), **READS)
    other = world.agent("other", turns("", "", "done by another"))
    report = await world.run("worker", budget=Limits(tokens=50_000))
    found = await world.fork(report.run_id, at=4, model=other.info.name)
    again = await world.replay(found.run_id)
    assert again.differences == ()
    assert again.report.results[0].answer == "done by another"


async def test_a_run_that_was_gone_on_with_is_replayed(world: Any) -> None:
    def crash(request: ModelRequest) -> Any:
        if any(message.role == "tool" for message in request.messages):
            world.cut_off()
        return turns(reads("one"), reads("two"), "done")(request)

    world.agent("worker", crash, **READS)
    report = await world.run("worker", budget=Limits(tokens=50_000))
    found = await world.resume(report.run_id)
    again = await world.replay(found.run_id)
    assert again.differences == ()
    assert again.report.results[0].answer == "done"


async def test_artifacts_of_a_fork_lie_in_a_folder_of_its_own(world: Any) -> None:
    def write(request: ModelRequest) -> Any:
        path = request.messages[0].content.split("- ")[1].split(" ")[0].strip()
        text = "old" if len(request.messages) < 4 else "more"
        return [call("write_file", path=path, content=text)]

    def answer(request: ModelRequest) -> Any:
        spoken = sum(message.role == "assistant" for message in request.messages)
        return write(request) if spoken == 0 else "done"

    tools = {"tools": {"mcp": ["write_file"], "fs": {"read": True}}}
    world.agent("worker", answer, artifacts=["report.md"], **tools)
    report = await world.run("worker")
    (old,) = report.results[0].artifacts
    found = await world.fork(report.run_id, at=2)
    (new,) = found.report.results[0].artifacts
    assert report.run_id in old.path
    assert new.path == old.path.replace(report.run_id, found.run_id)
    assert new.sha256 == old.sha256
    once_more = await world.fork(found.run_id, at=2)
    (newest,) = once_more.report.results[0].artifacts
    assert newest.path == old.path.replace(report.run_id, once_more.run_id)


async def test_what_is_not_on_record_cannot_be_forked(world: Any) -> None:
    world.agent("worker", ["done"])
    world.agent("other", ["done"])
    report = await world.run("worker", "other")
    with pytest.raises(UsageError, match="say whose step it is"):
        await world.fork(report.run_id, at=0)
    with pytest.raises(UsageError, match="has no step 7; it has 0 to 0"):
        await world.fork(report.run_id, at=7, agent="worker")
    with pytest.raises(UsageError, match="had no agent 'workr'; did you mean 'worker'"):
        await world.fork(report.run_id, at=0, agent="workr")


async def test_a_fork_that_was_cut_off_before_it_had_its_history_is_forked_again(
    world: Any,
) -> None:
    world.agent("other", turns("other done"))
    world.agent("worker", turns(reads("one"), reads("two"), "done"), **READS)
    report = await world.run("other", "worker", budget=Limits(tokens=50_000))

    def crash(_handle: RunHandle) -> None:
        world.cut_off()

    first = await world.fork(report.run_id, at=0, agent="other", on_start=crash)
    with pytest.raises(SashizuError, match=f"history of run {report.run_id}: fork that one again"):
        await world.resume(first.run_id)


async def test_a_link_leads_no_fork_out_of_the_workspace(world: Any) -> None:
    world.agent("worker", turns(reads("one"), "done"), **READS)
    report = await world.run("worker")
    outside = world.place.with_name("outside")
    (outside / "runs" / report.run_id).mkdir(parents=True)
    (world.place / ".sashizu").symlink_to(outside)
    found = await world.fork(report.run_id, at=2)
    assert found.report.results[0].ok
    assert [each.name for each in (outside / "runs").iterdir()] == [report.run_id]

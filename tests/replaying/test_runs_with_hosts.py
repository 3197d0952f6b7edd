"""Interrupted agents with processes of their own: begun anew only where somebody says so."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from sashizu_core.hosts import HostedWork
from sashizu_core.ids import AgentId
from sashizu_core.protocols import Approver
from sashizu_core.recorded import RecordedRun
from sashizu_core.repeating.joining import joined
from sashizu_core.specs import HostSpec
from sashizu_core.testing.fakes import FixedApprover
from sashizu_core.types import AgentReport, Limits, Outcome, Usage


class Host:
    """Does the work without a process; `while_working` is called as it does."""

    def __init__(self) -> None:
        self.works: list[HostedWork] = []
        self.while_working: Any = None

    async def expect(self, count: int) -> None:
        """Nothing to start."""

    async def run(
        self, work: HostedWork, stop: anyio.Event, approver: Approver | None
    ) -> AgentReport:
        self.works.append(work)
        if self.while_working is not None:
            self.while_working()
        return AgentReport(
            agent=work.task.agent,
            agent_id=AgentId(work.handoff.agent_id),
            status="ok",
            outcome=Outcome.ANSWERED,
            answer=f"answer {len(self.works)}",
            criteria=(),
            artifacts=(),
            missing=(),
            usage=Usage(10, 5),
            budget=None,
            steps=3,
            duration_s=0.5,
        )


@pytest.fixture
def host(world: Any) -> Host:
    found = Host()

    @asynccontextmanager
    async def open_(_root: Path) -> AsyncIterator[Host]:
        yield found

    world.offered["hosts"] = {"process": HostSpec("process", "none", open_)}
    world.agent("apart", [], isolation="process")
    return found


@pytest.mark.parametrize("answer", [None, "deny", "once"])
async def test_an_agent_that_was_at_work_begins_anew_only_where_somebody_says_so(
    world: Any, host: Host, answer: str | None
) -> None:
    host.while_working = world.cut_off
    report = await world.run("apart", budget=Limits(tokens=50_000))
    says = FixedApprover(answer) if answer else None
    found = await world.resume(report.run_id, approver=says)
    assert [doubt.tool for doubt in found.doubts] == ["agent apart"]
    (result,) = found.report.results
    assert len(host.works) == (2 if answer == "once" else 1)
    if answer == "once":
        assert result.answer == "answer 2"
    else:
        assert result.outcome is Outcome.FAILED
        assert "is not known" in result.error
    if says is not None:
        assert [question.in_doubt for question in says.asked] == [True]
    assert (await world.replay(found.run_id)).differences == ()


async def test_what_an_agent_came_to_before_an_interruption_is_kept(
    world: Any, host: Host, cuts_at_the_end: Any
) -> None:
    await world.run("apart", budget=Limits(tokens=50_000), sinks=[cuts_at_the_end])
    found = await world.resume("last")
    assert found.doubts == ()
    assert len(host.works) == 1
    (result,) = found.report.results
    assert (result.answer, result.usage) == ("answer 1", Usage(10, 5))
    assert (await world.replay(found.run_id)).differences == ()


async def test_a_fork_of_another_agent_keeps_what_it_came_to(world: Any, host: Host) -> None:
    world.agent("later", ["second"])
    report = await world.run("apart", "later", budget=Limits(tokens=50_000))
    found = await world.fork(report.run_id, at=0, agent="later")
    assert len(host.works) == 1
    assert [result.answer for result in found.report.results] == ["answer 1", "second"]


def record(run_id: str, *events: dict[str, Any]) -> RecordedRun:
    found = [{"run_id": run_id, **event} for event in events]
    return RecordedRun(run_id, found, lambda _digest: None, {}, False)


def work(agent_id: str, steps: int, **begun: Any) -> list[dict[str, Any]]:
    """An agent that began in a process of its own, made some calls, and was cut off."""
    attrs = {"host": "process", **begun}
    found = [{"kind": "agent.started", "agent_id": agent_id, "attrs": attrs}]
    for step in range(steps):
        about = {"agent_id": agent_id, "step": step}
        found.append({**about, "kind": "model.requested", "op": "chat"})
        found.append({**about, "kind": "budget.held", "budget_held": 100})
        found.append({**about, "kind": "model.answered", "status": "ok"})
        found.append({**about, "kind": "budget.settled", "budget_spent": 70})
    return found


def test_what_an_agent_spent_as_it_began_anew_counts_though_it_came_less_far() -> None:
    child = {"kind": "agent.started", "agent_id": "a-child", "parent_agent_id": "a", "attrs": {}}
    earlier = record("one", *work("a", 3), child)
    found = joined(record("two", *work("b", 2, goes_on="a")), earlier)
    assert {event["agent_id"] for event in found.events} == {"b"}


def test_what_an_agent_came_to_is_taken_where_the_next_run_had_not_heard_of_it() -> None:
    ended = {"kind": "agent.ended", "agent_id": "a", "status": "ok"}
    earlier = record("one", *work("a", 3), ended)
    found = joined(record("two", *work("b", 0, goes_on="a")), earlier)
    assert {event["agent_id"] for event in found.events} == {"a"}

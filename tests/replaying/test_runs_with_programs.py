"""Agents that programs of other vendors work for: their work is one step of a replay."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sashizu_core.errors import SashizuError
from sashizu_core.events import Event
from sashizu_core.grants import ExecRequest
from sashizu_core.ids import new_agent_id
from sashizu_core.protocols import Model
from sashizu_core.sandboxing import NoSandbox, SandboxInfo
from sashizu_core.specs import SandboxSpec
from sashizu_core.testing.fakes import FixedApprover, ScriptedModel, scripted_model
from sashizu_core.turn.engine import EngineJob, EngineLoop, EngineResult
from sashizu_core.types import Amount, Limits, ModelInfo, Outcome, Usage

PROGRAM = "/usr/bin/program"
STARTS: Mapping[str, Any] = {"tools": {"fs": {"read": True}, "shell": {"exec": [PROGRAM]}}}


class Program(ScriptedModel):
    """An engine without a program: says what it did, and has one agent beneath it."""

    def __init__(self) -> None:
        super().__init__([], info=ModelInfo("prog/any", "prog", local=True, bills_tokens=False))
        self.worked = 0
        self.while_working: Any = None
        self.fails = False

    def program(self, job: EngineJob) -> ExecRequest:
        return ExecRequest((PROGRAM,), PROGRAM, any_code=True, enforced_by="held")

    async def work(self, job: EngineJob) -> EngineResult:
        self.worked += 1
        self._says(job)
        if self.while_working is not None:
            self.while_working()
        if self.fails:
            raise SashizuError("it fell over")
        if job.ledger is not None:
            hold: Any = job.ledger.node.reserve(Amount(tokens=700, requests=2, agents=1))
            hold.settle(Amount(tokens=600, requests=2, agents=1))
        job.book(Usage(500, 100, requests=2), 0)
        return EngineResult(Outcome.ANSWERED, f"answer {self.worked}")

    def _says(self, job: EngineJob) -> None:
        recorder = job.steps.recorder
        fields = {"step": job.steps.next_seq(), "op": "execute_tool", "tool": "prog/edit"}
        recorder.write([recorder.event("tool.requested", fields)])
        recorder.write([recorder.event("tool.ended", {**fields, "status": "ok"})])
        below = recorder.derive(
            agent_id=new_agent_id(),
            agent_name="worker/helper",
            parent_agent_id=job.context.agent_id,
            depth=job.depth + 1,
        )
        about = {"op": "invoke_agent", "attrs": {"client": "worker", "client_agent": "helper"}}
        below.write([below.event("agent.started", about)])
        below.write([below.event("agent.ended", {"op": "invoke_agent", "status": "ok"})])


class Held(NoSandbox):
    """Says that it holds programs; none is started."""


@pytest.fixture
def program(world: Any, monkeypatch: pytest.MonkeyPatch) -> Program:
    found = Program()
    info = SandboxInfo("held", "enforced")

    @asynccontextmanager
    async def open_model(_name: str) -> AsyncIterator[Model]:
        yield found

    @asynccontextmanager
    async def open_sandbox() -> AsyncIterator[Held]:
        yield Held(info)

    world.offered["sandboxes"] = {"held": SandboxSpec("held", "", lambda: info, open_sandbox)}
    options = world.options

    def with_engine() -> dict[str, Any]:
        given = options()
        spec = replace(scripted_model(found), open=open_model, engine=True)
        registry = given["registry"]
        models = {**registry.models, found.info.name: spec}
        return {**given, "registry": replace(registry, models=models)}

    monkeypatch.setattr(world, "options", with_engine)
    return found


def worker(world: Any, program: Program) -> None:
    world.agent("worker", [], **STARTS)
    world.agents[-1] = world.agents[-1].model_copy(update={"model": program.info.name})


async def test_a_program_is_replayed_as_one_step(world: Any, program: Program) -> None:
    worker(world, program)
    report = await world.run("worker", budget=Limits(tokens=50_000))
    (result,) = report.results
    assert result.answer == "answer 1", result.error
    found = await world.replay(report.run_id)
    assert found.differences == ()
    assert program.worked == 1
    (again,) = found.report.results
    assert (again.answer, again.usage, again.steps) == (result.answer, result.usage, result.steps)
    agents = world.query(
        f"SELECT count(DISTINCT agent_id) AS n FROM events WHERE run_id = '{found.run_id}'"
    )
    assert agents == [{"n": 2}]
    assert (await world.replay(found.run_id)).differences == ()


async def test_a_program_that_failed_fails_in_the_replay(world: Any, program: Program) -> None:
    worker(world, program)
    program.fails = True
    report = await world.run("worker")
    assert report.results[0].outcome is Outcome.FAILED
    found = await world.replay(report.run_id)
    assert found.differences == ()
    assert program.worked == 1


async def test_a_program_that_may_not_start_is_replayed(world: Any, program: Program) -> None:
    world.agent("worker", [])
    world.agents[-1] = world.agents[-1].model_copy(update={"model": program.info.name})
    program.program = lambda _job: ExecRequest(("/bin/other",), "/bin/other")  # type: ignore[method-assign]
    report = await world.run("worker")
    assert program.worked == 0
    assert (await world.replay(report.run_id)).differences == ()


@pytest.mark.parametrize(("answer", "worked"), [(None, 1), ("once", 2)])
async def test_a_program_that_was_at_work_works_again_only_where_somebody_says_so(
    world: Any, program: Program, answer: str | None, worked: int
) -> None:
    worker(world, program)
    program.while_working = world.cut_off
    report = await world.run("worker", budget=Limits(tokens=50_000))
    says = FixedApprover(answer) if answer else None
    found = await world.resume(report.run_id, approver=says)
    assert program.worked == worked
    assert [doubt.tool for doubt in found.doubts] == ["prog"]
    (result,) = found.report.results
    assert result.ok is (answer == "once")
    assert answer == "once" or "is not known" in result.error
    assert (await world.replay(found.run_id)).differences == ()


async def test_what_a_program_gave_before_an_interruption_is_kept(
    world: Any, program: Program, cuts_at_the_end: Any
) -> None:
    worker(world, program)
    await world.run("worker", sinks=[cuts_at_the_end])
    found = await world.resume("last")
    assert program.worked == 1
    assert [result.answer for result in found.report.results] == ["answer 1"]
    assert found.doubts == ()
    assert (await world.replay(found.run_id)).differences == ()


async def test_a_fork_at_its_step_has_a_program_work_anew(world: Any, program: Program) -> None:
    worker(world, program)
    report = await world.run("worker", budget=Limits(tokens=50_000))
    with pytest.raises(SashizuError, match=r"unsupported: .* as a whole: say --at 0"):
        await world.fork(report.run_id, at=1)
    found = await world.fork(report.run_id, at=0)
    assert program.worked == 2
    assert [result.answer for result in found.report.results] == ["answer 2"]
    assert (await world.replay(found.run_id)).differences == ()


def hook(command: str) -> dict[str, Any]:
    return {"SessionStart": [{"hooks": [{"type": "command", "command": command}]}]}


async def test_a_program_that_was_at_work_is_asked_about_whatever_hooks_there_are_by_now(
    world: Any, program: Program
) -> None:
    worker(world, program)
    world.settings["hooks"] = hook("of then")
    program.while_working = world.cut_off
    report = await world.run("worker")
    world.settings["hooks"] = hook("of today")
    found = await world.resume(report.run_id)
    assert program.worked == 1
    assert "is not known" in found.report.results[0].error
    assert (await world.replay(found.run_id)).differences == ()


async def test_a_record_that_lacks_what_a_program_spent_is_refused(
    world: Any, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = EngineLoop._ended

    def as_it_was(loop: EngineLoop, *args: Any) -> list[Event]:
        (event,) = ended(loop, *args)
        attrs = {name: value for name, value in event.fields["attrs"].items() if name != "spent"}  # type: ignore[attr-defined]
        return [Event(event.kind, {**event.fields, "attrs": attrs})]

    monkeypatch.setattr(EngineLoop, "_ended", as_it_was)
    worker(world, program)
    program.fails = True
    report = await world.run("worker", budget=Limits(tokens=50_000))
    with pytest.raises(SashizuError, match="another version of sashizu"):
        await world.replay(report.run_id)

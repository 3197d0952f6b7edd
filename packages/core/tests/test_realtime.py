"""Requests answered in time or not at all: each an agent of one run, in order, and on record."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.agents import AgentDefinition
from sashizu_core.errors import MissingPackage, ModelError, UsageError
from sashizu_core.plugins import Registry
from sashizu_core.prompt import read_brief
from sashizu_core.runtime.realtime import (
    Answered,
    Asking,
    Latencies,
    Summary,
    answer_in_time,
)
from sashizu_core.settings import Settings
from sashizu_core.specs import ToolSpec
from sashizu_core.testing.fakes import MemorySink, ScriptedModel, scripted_model
from sashizu_core.types import Completion, Limits, ModelRequest

LONG_S = 60.0
AGENT = {"name": "worker", "goal": "work", "model": "fake/scripted", "tools": {"mcp": ["touch"]}}

Requests = AsyncIterator[Asking]


class Hanging(ScriptedModel):
    """Never answers what is asked to hang."""

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        if "hang" in read_brief(request.messages).goal:
            await anyio.sleep_forever()
        return await super().complete(request, on_text=on_text)


def said(request: ModelRequest) -> str:
    goal = read_brief(request.messages).goal
    if "fail" in goal:
        raise ModelError("no", fault="invalid_request", sent=True)
    return f"to {goal}"


async def at_once(*requests: str | Asking) -> Requests:
    await anyio.wait_all_tasks_blocked()  # the one who works waits for the first
    for number, each in enumerate(requests):
        yield Asking(number, each, monotonic()) if isinstance(each, str) else each


class Opened:
    async def __aenter__(self) -> Opened:
        return self

    async def __aexit__(self, *_: object) -> None: ...


@pytest.fixture
def answer(tmp_path: Path):
    async def run(
        requests: Requests, target_s: float = LONG_S, **options: Any
    ) -> tuple[list[Answered], Summary, MemorySink, Hanging]:
        sink, model, told = MemorySink(), Hanging(said), []
        touch = ToolSpec("touch", "never called", Opened)
        found = await answer_in_time(
            requests,
            told.append,
            agent="worker",
            target_s=target_s,
            workspace=tmp_path,
            agents=[AgentDefinition.model_validate(AGENT)],
            settings=Settings(),
            registry=Registry(
                models={"fake/scripted": scripted_model(model)}, tools={"touch": touch}
            ),
            sinks=[sink],
            audit=False,
            **options,
        )
        return told, found, sink, model

    return run


async def test_each_request_is_answered_in_order_by_an_agent_of_its_own(answer):
    told, found, sink, model = await answer(at_once("one", "two", "three"))

    assert [(each.id, each.status, each.answer) for each in told] == [
        (0, "ok", "to one"),
        (1, "ok", "to two"),
        (2, "ok", "to three"),
    ]
    assert (found.requests, found.ok, found.missed) == (3, 3, 0)
    assert 0 < found.p50_ms <= found.p99_ms
    assert all(not request.tools for request in model.requests)
    started = [one.fields["agent_id"] for one in sink.events if one.kind == "agent.started"]
    assert started == [each.agent_id for each in told]
    (run,) = [one.fields for one in sink.events if one.kind == "run.started"]
    assert run["attrs"]["realtime"] == {"target_ms": LONG_S * 1000}
    assert sink.events[-1].kind == "run.ended"
    assert sink.events[-1].fields["status"] == "ok"


async def test_more_than_two_never_wait_and_the_others_cost_nothing(answer):
    told, found, sink, _ = await answer(at_once("hang", *"abcde"), 0.05)

    assert [(each.id, each.status) for each in told] == [
        *((number, "dropped") for number in (3, 4, 5)),
        *((number, "late") for number in (0, 1, 2)),
    ]
    assert all("waited" in each.reason for each in told[:3])
    assert (found.dropped, found.late, found.missed) == (3, 3, 6)
    ended = [one.fields for one in sink.events if one.kind == "agent.ended"]
    assert len(ended) <= 1
    assert {each["attrs"]["outcome"] for each in ended} <= {"deadline"}


async def test_a_request_whose_time_is_over_is_not_worked_on(answer):
    old = Asking("old", "one", monotonic() - 2 * LONG_S)
    told, found, _, model = await answer(at_once(old, "new"))

    assert [(each.id, each.status) for each in told] == [("old", "late"), (1, "ok")]
    assert len(model.requests) == 1
    assert found.p50_ms is not None


async def test_a_failure_is_told_and_the_stream_goes_on(answer):
    told, found, _, _ = await answer(at_once("fail", "one"))

    assert [(each.status, each.error) for each in told] == [("failed", "model_failed"), ("ok", "")]
    assert (found.failed, found.ok, found.missed) == (1, 1, 0)


async def test_whoever_stops_the_run_ends_the_reading_and_the_work(answer):
    handles: list[Any] = []

    async def endless() -> Requests:
        await anyio.wait_all_tasks_blocked()
        yield Asking(0, "hang", monotonic())
        await anyio.wait_all_tasks_blocked()
        handles[0].cancel("interrupted")
        await anyio.sleep_forever()

    with anyio.fail_after(30):
        told, found, sink, _ = await answer(endless(), on_start=handles.append)

    assert [(each.status, each.error) for each in told] == [("failed", "cancelled")]
    assert found.stopped == "interrupted"
    assert sink.events[-1].fields["status"] == "cancelled"


async def test_the_deadline_of_the_run_ends_the_stream(answer):
    async def quiet() -> Requests:
        await anyio.sleep_forever()
        yield Asking(0, "never", monotonic())

    with anyio.fail_after(30):
        told, found, _, _ = await answer(quiet(), deadline_s=0.05)
    assert told == []
    assert "deadline" in found.stopped
    assert found.expired


async def test_a_program_that_is_a_whole_agent_is_refused(answer, monkeypatch):
    monkeypatch.setattr(
        "sashizu_core.runtime.plan.find_model",
        lambda name, models: replace(models[name], engine=True),
    )
    with pytest.raises(UsageError, match="one call of a model"):
        await answer(at_once("one"))


async def test_a_stream_that_fails_ends_the_run_with_its_error(answer):
    async def broken() -> Requests:
        await anyio.lowlevel.checkpoint()
        raise UsageError("no such stream")
        yield

    with pytest.raises(UsageError, match="no such stream"):
        await answer(broken())


@pytest.mark.parametrize("target_s", [0.0, -1.0, math.inf, math.nan])
async def test_a_time_that_is_none_is_refused(answer, target_s):
    with pytest.raises(UsageError, match="above 0"):
        await answer(at_once(), target_s)


async def test_a_budget_without_a_ledger_is_refused(answer):
    with pytest.raises(MissingPackage, match="sashizu-budget"):
        await answer(at_once(), budget=Limits(tokens=10))


@given(st.lists(st.floats(0.001, 1e6), min_size=1), st.floats(0, 1))
def test_a_percentile_is_the_true_one_and_at_most_one_per_cent_above(times, share):
    latencies = Latencies()
    for ms in times:
        latencies.add(ms)

    true = sorted(times)[max(0, math.ceil(share * len(times)) - 1)]

    assert true * (1 - 1e-9) <= latencies.percentile(share) <= true * 1.01 * (1 + 1e-9)


def test_without_times_there_is_no_percentile():
    assert Latencies().percentile(0.5) is None

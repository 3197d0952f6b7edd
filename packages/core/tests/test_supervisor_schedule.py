"""Steps start when what they wait for is done, and never more at once than allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from sashizu_core.supervisor.carrying import may_meet
from sashizu_core.supervisor.schedule import Fate, carry_out

Graph = Mapping[str, tuple[str, ...]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to nine steps; each waits for some of those before it, so that there is no circle."""
    count = draw(st.integers(1, 9))
    found = {}
    for number in range(count):
        before = [f"s{earlier}" for earlier in range(number)]
        after = draw(st.lists(st.sampled_from(before), unique=True)) if before else []
        found[f"s{number}"] = tuple(after)
    names = draw(st.permutations(list(found)))
    return {name: found[name] for name in names}


@dataclass
class Log:
    """What happened, in order, and how many worked at once."""

    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    before: dict[str, set[str]] = field(default_factory=dict)
    working: int = 0
    most: int = 0


def run(
    graph: Graph,
    *,
    jobs: int = 3,
    failing: frozenset[str] = frozenset(),
    turns: Mapping[str, int] | None = None,
    stop_after: int | None = None,
    backend: str = "asyncio",
) -> tuple[dict[str, Fate], Log]:
    log = Log()

    async def work(name: str) -> bool:
        log.begun.append(name)
        log.before[name] = set(log.ended)
        log.working += 1
        log.most = max(log.most, log.working)
        for _ in range((turns or {}).get(name, 1)):
            await checkpoint()
        log.working -= 1
        log.ended.append(name)
        return name not in failing

    async def main() -> dict[str, Fate]:
        with anyio.fail_after(20):
            return await carry_out(
                graph,
                work,
                jobs=jobs,
                stopped=lambda: stop_after is not None and len(log.ended) >= stop_after,
            )

    return anyio.run(main, backend=backend), log


def ancestors(graph: Graph, name: str) -> set[str]:
    return {one for each in graph[name] for one in (each, *ancestors(graph, each))}


@settings(max_examples=50)
@given(graphs(), st.integers(1, 4), st.data())
def test_every_step_runs_once_after_all_it_waits_for(
    graph: Graph, jobs: int, data: st.DataObject
) -> None:
    turns = {name: data.draw(st.integers(0, 4)) for name in graph}
    fates, log = run(graph, jobs=jobs, turns=turns)
    assert sorted(log.begun) == sorted(graph)
    assert set(fates.values()) == {"done"}
    assert all(set(graph[name]) <= log.before[name] for name in graph)


@settings(max_examples=50)
@given(graphs(), st.integers(1, 4), st.data())
def test_no_more_work_at_once_than_allowed(graph: Graph, jobs: int, data: st.DataObject) -> None:
    turns = {name: data.draw(st.integers(0, 6)) for name in graph}
    _, log = run(graph, jobs=jobs, turns=turns)
    assert 1 <= log.most <= jobs


@settings(max_examples=50)
@given(graphs(), st.data())
def test_what_waits_for_a_failure_is_skipped_and_nothing_else(
    graph: Graph, data: st.DataObject
) -> None:
    failing = frozenset(data.draw(st.sets(st.sampled_from(sorted(graph)))))
    fates, log = run(graph, failing=failing)
    for name, fate in fates.items():
        if ancestors(graph, name) & failing:
            assert fate == "skipped"
            assert name not in log.begun
        else:
            assert fate == ("failed" if name in failing else "done")


@settings(max_examples=50)
@given(graphs(), st.integers(0, 4))
def test_nothing_begins_once_it_is_stopped(graph: Graph, stop_after: int) -> None:
    fates, log = run(graph, jobs=1, stop_after=stop_after)
    assert len(log.begun) == min(stop_after, len(graph))
    assert {name for name, fate in fates.items() if fate == "skipped"} == set(graph) - set(
        log.begun
    )


@settings(max_examples=50)
@given(graphs())
def test_only_steps_that_do_not_wait_for_each_other_can_meet(graph: Graph) -> None:
    ordered = dict(sorted(graph.items()))
    meeting = may_meet(ordered)
    for name in graph:
        apart = {
            other
            for other in graph
            if other != name
            and other not in ancestors(graph, name)
            and name not in ancestors(graph, other)
        }
        assert (name in meeting) == bool(apart)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_independent_steps_run_at_the_same_time(backend: str) -> None:
    graph: Graph = {"a": (), "b": (), "c": ("a",)}
    _, log = run(graph, turns={"a": 5, "b": 5}, backend=backend)
    assert log.most == 2
    assert log.ended[-1] == "c"


async def test_an_error_in_one_step_cancels_the_others_and_is_raised() -> None:
    begun: list[str] = []

    async def work(name: str) -> bool:
        begun.append(name)
        if name == "broken":
            raise ValueError("broken")
        await anyio.sleep_forever()
        return True

    with anyio.fail_after(20), pytest.raises(ExceptionGroup) as raised:
        await carry_out({"waits": (), "broken": (), "later": ("waits",)}, work, jobs=3)
    assert raised.group_contains(ValueError, match="broken")
    assert sorted(begun) == ["broken", "waits"]


async def test_cancelling_the_caller_ends_steps_at_work_and_starts_no_others() -> None:
    begun: list[str] = []
    working = anyio.Event()

    async def work(name: str) -> bool:
        begun.append(name)
        working.set()
        await anyio.sleep_forever()
        return True

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:

            async def call() -> None:
                await carry_out({"a": (), "b": ("a",)}, work, jobs=2)

            group.start_soon(call)
            await working.wait()
            group.cancel_scope.cancel()
    assert begun == ["a"]

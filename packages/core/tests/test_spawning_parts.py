"""What keeps agents that start agents in bounds: counts, places to work, and who opens what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.errors import SpawnRefused
from sashizu_core.runtime.child_limits import SpawnBounds
from sashizu_core.runtime.child_opening import OwnedStack
from sashizu_core.runtime.child_slots import WorkSlot
from sashizu_core.turn.claims import Claims


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def refusal(bounds: SpawnBounds) -> tuple[str, int]:
    with pytest.raises(SpawnRefused) as caught:
        bounds.start()
    return caught.value.limit, caught.value.allowed


# --- counts ---------------------------------------------------------------------------------------


def test_depth_shrinks_with_every_level_and_never_grows() -> None:
    run = SpawnBounds("run", depth=2)
    top = SpawnBounds("top", above=run)
    child = SpawnBounds("child", depth=9, above=top, below=True)
    leaf = SpawnBounds("leaf", above=child, below=True)
    assert (top.depth_left, child.depth_left, leaf.depth_left) == (2, 1, 0)
    assert refusal(leaf) == ("depth", 0)
    child.start()


def test_how_many_are_started_in_all_is_counted_on_every_level() -> None:
    run = SpawnBounds("run", agents=3)
    one, other = SpawnBounds("one", agents=2, above=run), SpawnBounds("other", above=run)
    one.start().ended()
    one.start()
    assert refusal(one) == ("agents", 2)
    other.start()
    assert refusal(other) == ("agents", 3)


def test_who_has_ended_is_not_alive_and_ends_once() -> None:
    run = SpawnBounds("run", alive=2)
    first, _second = run.start(), run.start()
    assert refusal(run) == ("alive", 2)
    first.ended()
    first.ended()
    run.start()
    assert refusal(run) == ("alive", 2)


def test_no_more_are_started_within_a_minute_than_allowed() -> None:
    clock = Clock()
    run = SpawnBounds("run", rate=2, clock=clock)
    child = SpawnBounds("child", above=run, below=True)
    run.start().ended()
    clock.now += 30
    child.start().ended()
    assert refusal(child) == ("rate", 2)
    clock.now += 30
    child.start().ended()
    assert refusal(run) == ("rate", 2)


def test_what_one_level_refuses_counts_on_none() -> None:
    run = SpawnBounds("run", agents=2)
    full = SpawnBounds("full", agents=0, above=run)
    for _ in range(5):
        assert refusal(full) == ("agents", 0)
    run.start()
    run.start()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.floats(0, 40)), max_size=60),
    st.integers(0, 6),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_no_limit_of_any_level_is_ever_exceeded(
    steps: list[tuple[int, bool, float]], agents: int, alive: int, rate: int
) -> None:
    clock = Clock()
    run = SpawnBounds("run", agents=agents, alive=alive + 1, rate=rate + 1, clock=clock)
    one = SpawnBounds("one", alive=alive, above=run)
    levels = [run, one, SpawnBounds("two", rate=rate, above=run), SpawnBounds("x", above=one)]
    living: list[tuple[int, object]] = []
    times: list[tuple[int, float]] = []
    for at, ends, wait in steps:
        clock.now += wait
        if ends and living:
            living.pop(0)[1].ended()  # type: ignore[attr-defined]
            continue
        try:
            living.append((at, levels[at].start()))
        except SpawnRefused:
            continue
        times.append((at, clock.now))
        recent = [which for which, when in times if when > clock.now - 60]
        assert len(times) <= agents
        assert len(living) <= alive + 1
        assert sum(which in (1, 3) for which, _ in living) <= alive
        assert len(recent) <= rate + 1
        assert recent.count(2) <= rate


# --- places to work -------------------------------------------------------------------------------


async def test_who_waits_lends_its_place_and_gets_one_back() -> None:
    limiter = anyio.CapacityLimiter(1)
    async with WorkSlot(limiter) as outer:
        async with outer.lent():
            async with WorkSlot(limiter):
                assert limiter.borrowed_tokens == 1
            assert limiter.borrowed_tokens == 0
        assert limiter.borrowed_tokens == 1
    assert limiter.borrowed_tokens == 0


async def test_a_place_is_lent_while_anybody_below_is_at_work() -> None:
    limiter = anyio.CapacityLimiter(1)
    first, second = anyio.Event(), anyio.Event()

    async def below(slot: WorkSlot, done: anyio.Event) -> None:
        async with slot.lent():
            await done.wait()

    async with WorkSlot(limiter) as slot:
        async with anyio.create_task_group() as group:
            group.start_soon(below, slot, first)
            group.start_soon(below, slot, second)
            await anyio.wait_all_tasks_blocked()
            assert limiter.borrowed_tokens == 0
            first.set()
            await anyio.wait_all_tasks_blocked()
            assert limiter.borrowed_tokens == 0
            second.set()
        assert limiter.borrowed_tokens == 1


async def test_who_is_cancelled_while_asking_for_a_place_keeps_none() -> None:
    limiter = anyio.CapacityLimiter(1)
    async with anyio.create_task_group() as group:

        async def work() -> None:
            async with WorkSlot(limiter) as slot, slot.lent():
                await limiter.acquire_on_behalf_of("somebody")

        group.start_soon(work)
        await anyio.wait_all_tasks_blocked()
        assert limiter.borrowed_tokens == 1
        group.cancel_scope.cancel()
    limiter.release_on_behalf_of("somebody")
    assert limiter.borrowed_tokens == 0


# --- what is opened late --------------------------------------------------------------------------


@asynccontextmanager
async def with_a_group(log: list[str], name: str) -> AsyncIterator[str]:
    async with anyio.create_task_group() as group:
        log.append(f"open {name}")
        try:
            yield name
        finally:
            log.append(f"close {name}")
            group.cancel_scope.cancel()


async def test_what_several_tasks_open_is_closed_in_turn_by_one() -> None:
    log: list[str] = []
    async with OwnedStack() as stack:

        async def use(name: str) -> None:
            assert await stack.enter_async_context(with_a_group(log, name)) == name

        for name in "abc":
            async with anyio.create_task_group() as group:
                group.start_soon(use, name)
        stack.callback(lambda: log.append("called"))
    assert log == [
        *["open a", "open b", "open c"],
        *["called", "close c", "close b", "close a"],
    ]


async def test_what_cannot_be_opened_is_told_to_who_asked_and_harms_nobody() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[None]:
        raise ValueError("no")
        yield

    log: list[str] = []
    async with OwnedStack() as stack:
        with pytest.raises(ValueError, match="no"):
            await stack.enter_async_context(broken())
        await stack.enter_async_context(with_a_group(log, "a"))
    assert log == ["open a", "close a"]


async def test_what_is_open_serves_the_last_words_of_who_is_cancelled() -> None:
    log: list[str] = []
    with anyio.CancelScope() as scope:
        async with OwnedStack() as stack:
            await stack.enter_async_context(with_a_group(log, "a"))
            try:
                scope.cancel()
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.wait_all_tasks_blocked()
                log.append("last words")
    assert log == ["open a", "last words", "close a"]


# --- files ----------------------------------------------------------------------------------------


def test_what_an_agent_has_is_for_those_below_it_one_at_a_time() -> None:
    claims = Claims()
    assert claims.take("lead", "lead", ["a"]) == ""
    claims.descend("one", "lead", "lead")
    claims.descend("two", "lead", "lead")
    assert claims.take("one", "one", ["a"]) == ""
    assert "one" in claims.take("two", "two", ["a"])
    assert "one" in claims.take("stranger", "stranger", ["a"])
    claims.pass_on("one")
    assert claims.take("two", "two", ["a"]) == ""
    claims.pass_on("two")
    assert "lead" in claims.take("stranger", "stranger", ["a"])
    assert claims.take("lead", "lead", ["a"]) == ""


def test_what_an_agent_has_is_not_for_those_beside_the_one_above() -> None:
    claims = Claims()
    claims.descend("child", "lead", "lead")
    assert claims.take("child", "child", ["src/a"]) == ""
    assert "child" in claims.take("lead", "lead", ["src/a"])
    assert "child" in claims.take("other", "other", ["src"])

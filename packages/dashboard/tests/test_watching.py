"""Runs are followed through their sockets, and what they tell can be taken up again."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from sashizu_core.control import ControlServer, RunHandle, RunInfo
from sashizu_core.events import Event
from sashizu_dashboard import watching
from sashizu_dashboard.live_run import LiveRun
from sashizu_dashboard.streaming import streamed
from sashizu_dashboard.watching import Watch

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets"
)
RUN = "01900000-0000-7000-8000-000000000001"
OTHER = "01900000-0000-7000-8000-000000000002"


@pytest.fixture
def anyio_backend() -> str:
    """Trio alone: a run is asked so often here that it ends in the middle of a request.

    With asyncio, anyio's sockets then complain that nobody waits for them. The dashboard itself,
    on asyncio, is tested as it is served.
    """
    return "trio"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_S", 0.01)


def server(home: Path, run_id: str = RUN) -> ControlServer:
    return ControlServer(RunHandle(run_id), RunInfo(run_id, ["a"], "/w", os.getpid(), 1.0), home)


async def until(true: Callable[[], bool]) -> None:
    with anyio.fail_after(60):
        while not true():
            await anyio.sleep(0.005)


@asynccontextmanager
async def watched(home: Path) -> AsyncIterator[Watch]:
    watch = Watch(home, clock=lambda: 7)
    async with anyio.create_task_group() as group:
        group.start_soon(watch.follow)
        yield watch
        # Data that comes to a socket as it is left would be an error of the event loop's.
        await until(lambda: not any(run.followed for run in watch.runs.values()))
        group.cancel_scope.cancel()


@asynccontextmanager
async def serving(home: Path, watch: Watch, run_id: str = RUN) -> AsyncIterator[ControlServer]:
    """A run at work that the watch listens to."""
    control = server(home, run_id)
    async with control.serve():
        await until(lambda: run_id in watch.runs and watch.runs[run_id].heard_from > 0)
        yield control


def tell(control: ControlServer, *steps: int) -> None:
    control.feed.write([Event("model.requested", {"agent_id": "1", "step": n}) for n in steps])


async def test_a_run_is_followed_from_its_begin_to_its_end(tmp_path):
    async with watched(tmp_path) as watch:
        async with serving(tmp_path, watch) as control:
            tell(control, 1, 2)
            await until(lambda: len(watch.newest(RUN, 9)) == 2)
            assert [run.info.run_id for run in watch.at_work] == [RUN]
            control.ended("ok", 1)
        await until(lambda: watch.at_work == ())
        assert watch.runs[RUN].run.status == "ok"


async def test_a_run_that_dies_is_lost_and_the_watch_goes_on(tmp_path):
    async with watched(tmp_path) as watch:
        async with serving(tmp_path, watch):
            pass  # it notes no end
        await until(lambda: watch.runs[RUN].run.status == "lost")
        async with serving(tmp_path, watch, OTHER):
            assert [run.info.run_id for run in watch.at_work] == [OTHER]


async def test_a_run_whose_socket_outlives_its_streams_is_lost_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(watching.control, "running_runs", lambda home: [])
    watch = Watch(tmp_path)
    run = watch.runs[RUN] = LiveRun(RunInfo(RUN, ["a"], "/w", 1, 1.0))
    async with anyio.create_task_group() as group:
        group.start_soon(watch.follow)
        await until(lambda: run.run.status == "lost")
        group.cancel_scope.cancel()
    assert watch.at_work == ()


async def test_several_runs_are_followed_at_once_and_told_apart(tmp_path):
    async with (
        watched(tmp_path) as watch,
        serving(tmp_path, watch) as one,
        serving(tmp_path, watch, OTHER) as other,
    ):
        place = watch.place
        tell(one, 1)
        tell(other, 2, 3)
        await until(lambda: len(watch.since(place).events) == 3)
        assert len(watch.since(place, OTHER).events) == 2


async def test_who_comes_back_gets_what_came_meanwhile_once(tmp_path):
    async with watched(tmp_path) as watch, serving(tmp_path, watch) as control:
        tell(control, 1)
        await until(lambda: len(watch.newest(RUN, 9)) == 1)
        place = watch.place
        tell(control, 2, 3)
        await until(lambda: len(watch.newest(RUN, 9)) == 3)
        news = watch.since(place)
        assert [event.count for event in news.events] == [3, 4]  # the first is that it is heard
        assert not news.missed
        assert not watch.since(news.place).events


async def test_who_saw_a_run_before_it_was_heard_is_told_that_something_may_be_missed(tmp_path):
    async with watched(tmp_path) as watch:
        place = watch.place
        async with serving(tmp_path, watch) as control:
            tell(control, 1)
            await until(lambda: len(watch.newest(RUN, 9)) == 1)
            assert watch.since(place, RUN).missed
            assert not watch.since(place).missed


@pytest.mark.parametrize("place", ["", "0", "x.1", "{}.99999", "{}.-1", "{}.x"])
async def test_a_place_that_is_none_of_ours_is_said_to_miss_something(tmp_path, place):
    watch = Watch(tmp_path)

    news = watch.since(place.format(watch.place.partition(".")[0]))

    assert news.missed
    assert news.place == watch.place


async def test_what_is_kept_no_more_is_said_to_be_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "MOST_EVENTS", 3)
    async with watched(tmp_path) as watch, serving(tmp_path, watch) as control:
        begin = watch.place
        tell(control, *range(5))
        await until(lambda: watch.place.endswith(".6"))
        assert watch.since(begin).missed
        three = begin.replace(".1", ".3")
        assert [event.count for event in watch.since(three).events] == [4, 5, 6]


async def test_a_listener_that_is_too_slow_comes_back(tmp_path, monkeypatch):
    monkeypatch.setattr("sashizu_core.control.server.MOST_WAITING", 20)
    async with watched(tmp_path) as watch, serving(tmp_path, watch) as control:
        first = set(control.feed.listeners)
        for number in range(22):  # more than wait for a listener, without a pause
            tell(control, number)
        await until(lambda: bool(control.feed.listeners - first))
        before = watch.place
        tell(control, 1)
        await until(lambda: watch.place != before)


async def test_a_stream_brings_events_then_the_place_and_ends_with_the_watch(tmp_path):
    async with watched(tmp_path) as watch, serving(tmp_path, watch) as control:
        place = watch.place
        tell(control, 1)
        await until(lambda: watch.place != place)
        stream = streamed(watch, place, RUN)
        with anyio.fail_after(60):
            assert await anext(stream) == b"retry: 1000\n\n"
            first = await anext(stream)
            assert first.startswith(b'event: happened\ndata: {"run": "' + RUN.encode())
            assert first.endswith(f"id: {watch.place}\nevent: changed\ndata: \n\n".encode())
            watch.close()
            with suppress(StopAsyncIteration):
                while True:
                    await anext(stream)


async def test_no_text_of_an_event_leaves_its_line_of_the_stream(tmp_path):
    async with watched(tmp_path) as watch, serving(tmp_path, watch) as control:
        place = watch.place
        told = "x\n\nevent: changed\r\ndata: \u2028\u202e\x00\ud800"
        control.feed.write([Event("model.requested", {"agent_name": told, "model": told})])
        await until(lambda: watch.place != place)
        stream = streamed(watch, place, "")
        with anyio.fail_after(60):
            await anext(stream)
            lines = (await anext(stream)).decode("ascii").split("\n")
        assert len([line for line in lines if line.startswith("event:")]) == 2
        assert not [line for line in lines if line.startswith("data: \\")]
        await stream.aclose()

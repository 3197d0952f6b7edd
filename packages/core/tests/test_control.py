from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from sashizu_core.control import (
    ControlServer,
    RunHandle,
    RunInfo,
    cancel,
    events,
    list_runs,
    running_runs,
    status,
)
from sashizu_core.control.wire import read_line, short_path, socket_path
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.events import Event
from sashizu_core.protocols import BudgetNode
from sashizu_core.types import Amount, BudgetState, Limits

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets"
)

RUN = "01900000-0000-7000-8000-000000000001"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Deeper than a socket's name can be long."""
    return tmp_path / ("d" * 60) / ("e" * 60)


def server(home: Path, handle: RunHandle | None = None) -> ControlServer:
    info = RunInfo(RUN, ["a"], "/somewhere", os.getpid(), time.time())
    return ControlServer(handle or RunHandle(RUN), info, home)


async def raw(home: Path, line: bytes) -> Mapping[str, Any]:
    with short_path(socket_path(home / "runs", RUN)) as path:
        stream = await anyio.connect_unix(path)
    async with stream:
        await stream.send(line)
        answer: Mapping[str, Any] = json.loads(await read_line(stream))
        return answer


async def test_a_running_run_is_listed_and_answers_with_the_state_of_its_agents(home: Path) -> None:
    handle = RunHandle(RUN, snapshot=lambda: {"agent_states": [{"agent": "a"}]})
    async with server(home, handle).serve():
        assert [info.status for info in list_runs(home)] == ["running"]
        seen = await status("last", home)
    assert seen["agent_states"] == [{"agent": "a"}]
    assert seen["workspace"] == "/somewhere"


async def test_a_run_that_was_killed_is_lost_although_its_socket_stayed(home: Path) -> None:
    async with server(home).serve():
        path = socket_path(home / "runs", RUN)
        left = (home / "runs" / f"{RUN}.json").read_bytes()
    with short_path(path) as short, socket.socket(socket.AF_UNIX) as dead:
        dead.bind(short)  # nobody listens on it
    (home / "runs" / f"{RUN}.json").write_bytes(left)

    assert [info.status for info in list_runs(home)] == ["lost"]
    assert (await status("last", home))["status"] == "lost"
    assert not await cancel("last", home=home)


async def test_a_run_that_died_without_a_word_is_listed_as_lost(home: Path) -> None:
    async with server(home).serve():
        pass
    assert [info.status for info in list_runs(home)] == ["lost"]
    assert (await status(RUN, home))["status"] == "lost"


@pytest.mark.parametrize(
    "line", [b"not json\n", b"[]\n", b'{"do": "explode"}\n', b'{"do": 3}\n', b"x" * 70_000 + b"\n"]
)
async def test_nonsense_is_answered_and_harms_nobody(home: Path, line: bytes) -> None:
    async with server(home).serve():
        with anyio.fail_after(5):
            assert "error" in await raw(home, line)
            assert (await status(RUN, home))["run_id"] == RUN


async def test_events_are_passed_on_until_the_run_ends(home: Path) -> None:
    control = server(home)
    heard: list[str] = []

    async def listen(task_status: anyio.abc.TaskStatus[None]) -> None:
        task_status.started()
        async for event in events(RUN, home):
            heard.append(event["kind"])  # noqa: PERF401 - looked at while it grows

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group, control.serve():
            await group.start(listen)
            while not control.feed.listeners:
                await anyio.lowlevel.checkpoint()
            control.feed.write([Event("run.started", {}), Event("agent.started", {})])
            while len(heard) < 2:
                await anyio.lowlevel.checkpoint()
    assert heard == ["run.started", "agent.started"]


async def test_the_last_events_are_heard_although_the_run_ends_at_once(home: Path) -> None:
    control, heard = server(home), []

    async def listen() -> None:
        async for event in events(RUN, home):
            heard.append(event["kind"])  # noqa: PERF401 - looked at when it has ended

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group, control.serve():
            group.start_soon(listen)
            while not control.feed.listeners:
                await anyio.lowlevel.checkpoint()
            control.feed.write([Event("agent.ended", {})] * 300 + [Event("run.ended", {})])
    assert heard == ["agent.ended"] * 300 + ["run.ended"]


async def test_who_does_not_listen_holds_up_the_end_only_for_a_moment(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sashizu_core.control.server.LAST_WORDS_S", 0.05)
    control = server(home)

    with anyio.fail_after(5):
        async with control.serve():
            with short_path(socket_path(home / "runs", RUN)) as path:
                deaf = await anyio.connect_unix(path)
            await deaf.send(b'{"do": "events"}\n')
            while not control.feed.listeners:
                await anyio.lowlevel.checkpoint()
            control.feed.write([Event("agent.ended", {"attrs": {"x": "y" * 10_000}})] * 1_000)
        await deaf.aclose()


async def test_who_is_too_slow_for_the_events_is_told_by_their_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sashizu_core.control.server.MOST_WAITING", 20)
    control, ended = server(home), anyio.Event()

    async def listen() -> None:
        async for _ in events(RUN, home):
            pass
        ended.set()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as group, control.serve():
            group.start_soon(listen)
            while not control.feed.listeners:
                await anyio.lowlevel.checkpoint()
            control.feed.write([Event("agent.started", {})] * 22)  # more than wait for anybody
            await ended.wait()


async def test_the_state_of_a_run_tells_its_budget(home: Path) -> None:
    class Root:
        def state(self) -> BudgetState:
            spent, held = Amount(tokens=7, requests=1), Amount(tokens=20)
            return BudgetState("1", "run", Limits(tokens=100), spent, held, Amount())

    async with server(home, RunHandle(RUN, root=cast(BudgetNode, Root()))).serve():
        told = (await status(RUN, home))["budget"]

    assert told["limits"] == {"tokens": 100}
    assert told["spent"] == {"tokens": 7, "nusd": 0, "requests": 1, "agents": 0}
    assert told["held"]["tokens"] == 20


async def test_only_runs_at_work_are_listed_as_such(home: Path) -> None:
    other = RUN[:-1] + "2"
    dead = ControlServer(RunHandle(other), RunInfo(other, [], "", 1, 1.0), home)
    async with dead.serve():
        stale = (home / "runs" / f"{other}.json").read_bytes()
    async with server(home).serve():
        (home / "runs" / f"{other}.json").write_bytes(stale)
        (home / "runs" / f"{other}.sock").touch()
        assert [info.run_id for info in running_runs(home)] == [RUN]
    assert running_runs(home) == []


async def test_one_agent_can_be_cancelled_and_the_others_go_on(home: Path) -> None:
    handle = RunHandle(RUN)
    scopes = {name: anyio.CancelScope() for name in ("one", "two")}
    for name, scope in scopes.items():
        handle.track(name, scope)
    async with server(home, handle).serve():
        assert await cancel(RUN, "one", home)
        assert not await cancel(RUN, "three", home)
    assert scopes["one"].cancel_called
    assert not scopes["two"].cancel_called


async def test_the_socket_and_its_folder_are_private(home: Path) -> None:
    async with server(home).serve():
        path = socket_path(home / "runs", RUN)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not path.exists()


async def test_an_ambiguous_beginning_of_an_id_names_the_runs(home: Path) -> None:
    for run_id in (RUN, RUN[:-1] + "2"):
        info = RunInfo(run_id, [], "", 1, 1.0)
        control = ControlServer(RunHandle(run_id), info, home)
        async with control.serve():
            control.ended("ok", 0)
    with pytest.raises(UsageError, match="2 runs"):
        await status(RUN[:-1], home)


async def test_a_request_nested_too_deeply_is_answered_and_the_run_goes_on(home: Path) -> None:
    async with server(home).serve():
        assert "not understood" in (await raw(home, b"[" * 60_000 + b"\n"))["error"]
        assert (await status("last", home))["workspace"] == "/somewhere"


async def test_a_question_that_fails_is_answered_and_the_run_goes_on(home: Path) -> None:
    def broken() -> Mapping[str, Any]:
        raise ZeroDivisionError

    async with server(home, RunHandle(RUN, snapshot=broken)).serve():
        answer = await raw(home, b'{"do": "status"}\n')
        assert answer["error"] == "unexpected ZeroDivisionError"
        assert await cancel("last", home=home)


async def test_a_run_that_does_not_answer_is_named_with_its_process(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sashizu_core.control.client.ANSWER_S", 0.05)

    async with server(home).serve():
        path = socket_path(home / "runs", RUN)
        left = (home / "runs" / f"{RUN}.json").read_bytes()
    with short_path(path) as short, socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(short)
        stuck.listen()
        (home / "runs" / f"{RUN}.json").write_bytes(left)
        with pytest.raises(SashizuError, match=f"`kill {os.getpid()}` ends it"):
            await status("last", home)

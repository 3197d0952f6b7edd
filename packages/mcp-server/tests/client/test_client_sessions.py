"""One server for all agents that may touch the same; who leaves it takes nobody along."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from sashizu_core.grants import NetRequest
from sashizu_core.sandboxing import Confinement
from sashizu_core.types import Decision
from sashizu_mcp_server.client.faults import NotStarted

ADDRESS = NetRequest("https", "example.org", 443, "/")


async def test_agents_that_may_touch_the_same_share_one_process(run, table) -> None:
    async with run(good=table("good")) as one:
        served = []

        async def ask(name: str) -> None:
            served.append(await one.tools("good/echo", name=name))

        async with anyio.create_task_group() as group:
            for name in ("first", "second", "third"):
                group.start_soon(ask, name)
        assert [list(each.tools) for each in served] == [["good/echo"]] * 3
        assert len(one.sandbox.started) == 1


async def test_an_agent_that_may_touch_less_has_a_process_of_its_own(run, table) -> None:
    async with run(good=table("good")) as one:
        root = one.workspace.root
        await one.tools("good/echo")
        await one.tools("good/echo", confinement=Confinement(root))
        await one.tools("good/echo", grants={"net": ("example.org",)})
        assert len(one.sandbox.started) == 3


async def test_a_server_is_held_by_what_holds_its_agent_and_shown_its_program(
    run, table, tmp_path: Path
) -> None:
    extra = tmp_path / "extra"
    async with run(good=table("good", read=[str(extra)])) as one:
        await one.tools("good/echo")
        ((argv, confinement),) = one.sandbox.asked
        root = one.workspace.root
        assert confinement.cwd == root
        assert root in confinement.readable
        assert extra in confinement.readable
        assert any(Path(argv[0]).is_relative_to(folder) for folder in confinement.readable)
        assert confinement.writable == ()
        assert confinement.judge is None


async def test_a_server_may_connect_only_while_it_is_called(run, polite_table) -> None:
    async with run(good=polite_table()) as one:
        served = await one.tools("good/add", grants={"net": ("example.org",)})
        ((_, confinement),) = one.sandbox.asked
        assert confinement.judge is not None
        assert (await confinement.judge(ADDRESS)).verdict == "deny"
        asked = []

        async def judge(request: object) -> Decision:
            asked.append(request)
            return Decision("allow", "by the call")

        tool = served.tools["good/add"]
        with tool._session.calling(one.context(judge=judge)):
            assert (await confinement.judge(ADDRESS)).allowed
        assert (await confinement.judge(ADDRESS)).verdict == "deny"
        assert asked == [ADDRESS]


async def test_without_anything_to_hold_it_a_server_is_not_started(run, table) -> None:
    async with run(good=table("good")) as one:
        served = await one.tools("good/echo", sandbox=None)
        assert "nothing would hold it" in served.absent["good/echo"]


@pytest.mark.parametrize(
    ("protocol", "spoken"),
    [("auto", "2026-07-28"), ("modern", "2026-07-28"), ("handshake", "2025-11-25")],
)
async def test_both_eras_of_the_protocol_are_spoken(run, polite_table, protocol, spoken) -> None:
    async with run(good=polite_table(protocol=protocol)) as one:
        tools = (await one.tools("good/*")).tools
        assert set(tools) == {
            f"good/{name}" for name in ("echo", "add", "fail", "wait", "variables")
        }
        assert (await one.call(tools["good/add"], '{"first": 2, "second": 3}')).content == "5"
        failed = await one.call(tools["good/fail"], "{}")
        assert failed.is_error
        assert tools["good/echo"]._session.connection.protocol == spoken


async def test_a_server_that_knows_only_the_older_era_is_not_spoken_to_in_the_newer(
    run, table
) -> None:
    async with run(
        old=table("good", protocol="modern"), nonsense=table("discovers-nonsense", protocol="auto")
    ) as one:
        assert "Method not found" in (await one.tools("old/echo")).absent["old/echo"]
        assert list((await one.tools("nonsense/echo")).tools) == ["nonsense/echo"]


@pytest.mark.parametrize("protocol", ["modern", "handshake"])
async def test_a_call_that_is_cancelled_is_cancelled_at_the_server(
    run, polite_table, tmp_path: Path, protocol
) -> None:
    heard = tmp_path / "heard"
    table = polite_table(protocol=protocol, env={"HEARD": str(heard)})
    async with run(good=table) as one:
        tools = (await one.tools("good/*")).tools
        async with anyio.create_task_group() as group:
            group.start_soon(one.call, tools["good/wait"], "{}")
            while "waiting" not in one.lines:
                await anyio.sleep(0.01)
            group.cancel_scope.cancel()
        with anyio.fail_after(10):
            while not heard.exists() or "cancelled" not in heard.read_text():
                await anyio.sleep(0.01)
        assert (await one.call(tools["good/add"], '{"first": 1, "second": 1}')).content == "2"
        assert len(one.sandbox.started) == 1


async def test_a_run_that_is_cancelled_leaves_no_process(
    run, table, polite_table, tmp_path: Path
) -> None:
    started: list[int] = []
    heard = tmp_path / "heard"
    stubborn = table("stubborn", timeout="60s", env={"HEARD": str(heard)})
    opened = run(stubborn=stubborn, good=polite_table())
    with anyio.CancelScope() as scope:
        async with opened as one:
            tools = (await one.tools("stubborn/echo", "good/add")).tools
            started = one.sandbox.started
            async with anyio.create_task_group() as group:
                group.start_soon(one.call, tools["stubborn/echo"])
                while b"tools/call" not in heard.read_bytes():
                    await anyio.sleep(0.01)
                assert len(one.sandbox.alive()) == 2
                scope.cancel()
    assert scope.cancelled_caught
    assert len(started) == 2
    assert one.sandbox.alive() == []


async def test_nothing_starts_before_an_agent_lists_a_tool(run, table) -> None:
    async with run(good=table("good")) as one:
        assert (await one.tools()).tools == {}
        assert one.sandbox.started == []


async def test_a_server_that_could_not_start_is_not_started_for_every_agent(run, table) -> None:
    async with run(bad=table("crash-at-start")) as one:
        for name in ("first", "second", "third"):
            assert "no cheese" in (await one.tools("bad/echo", name=name)).absent["bad/echo"]
        assert len(one.sandbox.started) == 1


def test_a_fault_names_its_server() -> None:
    fault = NotStarted("docs", "is not there")
    assert (fault.server, str(fault)) == ("docs", "the server 'docs' is not there")

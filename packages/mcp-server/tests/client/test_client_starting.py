"""Before a server is started or reached it is judged, and only checked addresses are dialled."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from sashizu_core.grants import ExecRequest, Grants, NetRequest, Rule
from sashizu_core.protocols import ServerStart, ToolsServed
from sashizu_core.sandboxing import SandboxInfo
from sashizu_core.types import Decision
from sashizu_mcp_server.client.dialling import CheckedTransport, Dialled, NotDialled

ANY = frozenset({"exec", "net"})


def ceiling(*silent_on: str, **more: Any) -> Grants:
    """What an operator allows at most; silent on everything else."""
    given: dict[str, Any] = {"tools": None, "fs_read": (".",), **more}
    return Grants(silent_on=frozenset(silent_on), **given)


async def listed(
    one: Any, *above: Grants, rules: tuple[Rule, ...] = (), **more: Any
) -> ToolsServed:
    """What an agent gets of the server `good` below further levels."""
    wanted = one.wanted("good/echo", grants={"rules": rules}, **more)
    subject = replace(wanted.subject, chain=(*above, *wanted.subject.chain))
    return await one.source.tools(replace(wanted, subject=subject))


# --- programs -------------------------------------------------------------------------------------

PROGRAMS: dict[str, tuple[Grants, bool]] = {
    "says nothing": (ceiling(*ANY), True),
    "says something of addresses only": (ceiling("exec"), True),
    "names the program": (ceiling("net", exec=(sys.executable,)), True),
    "names no program": (ceiling("net"), False),
    "names another program": (ceiling("net", exec=("docs-server",)), False),
    "has a rule": (ceiling(*ANY, rules=(Rule("deny", "exec", "*"),)), False),
    "names other servers": (ceiling(*ANY, tools=frozenset({"other/*"})), False),
    "is an agent that lists the server": (Grants(tools=frozenset({"good/*"})), True),
}


@pytest.mark.parametrize("level", PROGRAMS)
async def test_a_level_above_decides_whether_a_program_is_started(run, table, level) -> None:
    above, started = PROGRAMS[level]
    async with run(good=table("good")) as one:
        served = await listed(one, above)
        assert (list(served.tools) == ["good/echo"]) is started
        assert len(one.sandbox.started) == started
        if not started:
            assert "is not started" in served.absent["good/echo"]


async def test_what_a_definition_brings_is_no_server_of_the_agent_above(run, table) -> None:
    entry = {key: table("good")[key] for key in ("command", "args")}
    above = Grants(tools=frozenset({"good/*"}))
    async with run() as one:
        served = await listed(one, above, servers={"good": entry})
        assert "no grant allows it" in served.absent["good/echo"]
        granted = replace(above, exec=(sys.executable,))
        assert (await listed(one, granted, servers={"good": entry})).tools
        assert len(one.sandbox.started) == 1


async def test_each_agent_is_judged_also_where_another_one_started_the_server(run, table) -> None:
    async with run(good=table("good")) as one:
        assert (await listed(one)).tools
        served = await listed(one, rules=(Rule("deny", "exec", "*"),))
        assert served.tools == {}
        assert "'deny exec: *'" in served.absent["good/echo"]


async def test_a_program_is_started_only_where_a_sandbox_enforces(run, table) -> None:
    async with run(good=table("good")) as one:
        one.sandbox.info = SandboxInfo("open", "none", "it holds nothing")
        assert "enforcing sandbox" in (await listed(one)).absent["good/echo"]
        assert one.sandbox.started == []


async def test_whoever_records_is_asked_before_anything_starts(run, table, address) -> None:
    for entry in (table("good"), {"url": f"{address}/good"}):
        async with run(good=entry) as one:
            starts: list[ServerStart] = []

            async def starting(
                start: ServerStart, one: Any = one, starts: list[ServerStart] = starts
            ) -> Decision:
                assert one.sandbox.started == []
                starts.append(start)
                return Decision("deny", "somebody said no")

            served = await listed(one, starting=starting)
            assert "somebody said no" in served.absent["good/echo"]
            assert one.sandbox.started == []
            (start,) = starts
            if "url" in entry:
                port = int(address.rpartition(":")[2])
                assert start.request == NetRequest("http", "127.0.0.1", port, "/good")
            else:
                assert isinstance(start.request, ExecRequest)
                assert start.request.argv == (sys.executable, *entry["args"])
                assert (start.request.any_code, start.request.enforced_by) == (True, "open")


# --- addresses ------------------------------------------------------------------------------------


async def test_a_level_above_decides_whether_a_server_is_reached(run, address) -> None:
    async with run(good={"url": f"{address}/good"}) as one:
        for above in (
            ceiling("exec"),
            ceiling("exec", net=("example.org",)),
            ceiling(*ANY, rules=(Rule("deny", "net", "*"),)),
        ):
            served = await listed(one, above)
            assert "may not connect to" in served.absent["good/echo"]
        for above in (ceiling(*ANY), ceiling("net"), ceiling("exec", net=(address,))):
            assert (await listed(one, above)).tools


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254", "[fd00:ec2::254]"]
)
async def test_a_definition_reaches_no_address_that_is_not_public(run, host) -> None:
    async with run() as one:
        for scheme in ("http", "https"):
            served = await listed(one, servers={"good": {"url": f"{scheme}://{host}:9/mcp"}})
            absent = served.absent["good/echo"]
            assert "operator's own settings" in absent or "has to be https" in absent


async def test_a_definition_reaches_a_local_address_that_the_ceiling_names(run, address) -> None:
    async with run() as one:
        brought = {"good": {"url": f"{address}/good"}}
        assert (await listed(one, ceiling("exec", net=(address,)), servers=brought)).tools


async def test_the_operators_own_localhost_is_reached(run, address) -> None:
    local = address.replace("127.0.0.1", "localhost")
    async with run(good={"url": f"{local}/good"}) as one:
        assert (await listed(one)).tools


def dialled(*addresses: str, own_host: str = "") -> Dialled:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return addresses

    return Dialled(own_host, (), resolve)


REQUEST = NetRequest("https", "docs.example.org", 443, "/")


async def test_of_the_addresses_of_a_name_the_public_ones_are_dialled() -> None:
    found = dialled("10.0.0.1", "192.0.32.10", "fe80::1%eth0", "::ffff:127.0.0.1")
    assert await found.addresses(REQUEST) == ["192.0.32.10"]


@pytest.mark.parametrize("own_host", ["", "docs.example.org"])
async def test_a_name_that_leads_inside_is_not_dialled(own_host) -> None:
    with pytest.raises(NotDialled, match=r"leads to 10\.0\.0\.1 \(private\)"):
        await dialled("10.0.0.1", own_host=own_host).addresses(REQUEST)


async def test_localhost_leads_to_this_machine_and_nowhere_else() -> None:
    request = replace(REQUEST, host="localhost")
    found = dialled("192.168.0.1", "127.0.0.1", own_host="localhost")
    assert await found.addresses(request) == ["127.0.0.1"]


async def test_a_request_to_a_name_that_leads_inside_is_not_sent() -> None:
    """As when a name leads elsewhere than while it was judged."""
    async with httpx2.AsyncClient(transport=CheckedTransport(dialled("127.0.0.1"))) as client:
        with pytest.raises(httpx2.ConnectError, match="loopback"):
            await client.get("http://docs.example.org:9/")

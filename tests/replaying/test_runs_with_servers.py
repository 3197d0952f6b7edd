"""Runs whose agents have tools of servers: replayed without them, gone on with by asking them."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sashizu_core.errors import ArgumentsError, SashizuError, TrustNeeded
from sashizu_core.grants import McpRequest, PermissionRequest, Subject
from sashizu_core.protocols import (
    Policy,
    Tool,
    ToolContext,
    ToolsServed,
    ToolsWanted,
)
from sashizu_core.sandboxing import SandboxInfo
from sashizu_core.settings import Settings
from sashizu_core.specs import PolicySpec, SandboxSpec, ToolSourceSpec
from sashizu_core.testing.fakes import FixedApprover, call
from sashizu_core.types import Decision, ModelRequest, StepKind, ToolResult, ToolSchema
from sashizu_mcp_server import plugin as mcp_server
from sashizu_sandbox.nothing import Nothing

LISTS: Mapping[str, Any] = {"tools": {"mcp": ["docs/look", "docs/send"]}}
PARAMETERS = {"type": "object", "properties": {"word": {"type": "string"}}}


class ServedTool:
    """One tool of the server `docs`; `while_calling` is called while it runs."""

    def __init__(self, name: str, kind: StepKind) -> None:
        self.name = name
        self.kind = kind
        self.fingerprint = "a" * 64
        self.said = "hello"
        self.calls: list[str] = []
        self.while_calling: Any = None

    @property
    def schema(self) -> ToolSchema:
        return ToolSchema(f"docs/{self.name}", f"A tool that is to {self.name}.", PARAMETERS)

    def parse(self, arguments: str) -> Any:
        read = json.loads(arguments)
        if "word" not in read:
            raise ArgumentsError(f"docs/{self.name}: a word is missing")
        return read

    def requests(self, arguments: Any, context: ToolContext) -> Sequence[PermissionRequest]:
        return (McpRequest("docs", self.name, self.fingerprint),)

    async def run(self, arguments: Any, context: ToolContext) -> ToolResult:
        self.calls.append(arguments["word"])
        if self.while_calling is not None:
            self.while_calling()
        return ToolResult(f"{self.said}, {arguments['word']}")


class Server:
    """A source of two tools that counts who asks for them; `approved` are names without asking."""

    def __init__(self) -> None:
        self.look = ServedTool("look", StepKind.PURE)
        self.send = ServedTool("send", StepKind.EFFECT)
        self.asked = 0
        self.absent = ""
        self.trusted = True
        self.approved = {"look", "send"}

    async def tools(self, wanted: ToolsWanted) -> ToolsServed:
        self.asked += 1
        tools: dict[str, Tool] = {"docs/look": self.look, "docs/send": self.send}
        found = {name: tool for name, tool in tools.items() if name != self.absent}
        gone = {self.absent: "the server has no such tool"} if self.absent else {}
        return ToolsServed(found, gone, dict.fromkeys(found, "a" * 64))

    def check(self, request: PermissionRequest, subject: Subject) -> Decision | None:
        if not isinstance(request, McpRequest) or request.tool in self.approved:
            return None
        return Decision("ask", f"nobody approved {request.tool}", "approved tools", "policy")

    def require(self, root: Path, listed: Any) -> None:
        if not self.trusted:
            raise TrustNeeded(root, (), "sashizu trust")


@pytest.fixture
def server(world: Any) -> Server:
    found = Server()

    @asynccontextmanager
    async def source(_root: Path) -> AsyncIterator[Server]:
        yield found

    @asynccontextmanager
    async def policy() -> AsyncIterator[Policy]:
        yield found

    world.offered["tool_sources"] = {
        "docs": ToolSourceSpec("docs", "two tools", source, found.require)
    }
    world.offered["policies"] = {"docs": PolicySpec("docs", "asks", policy)}
    return found


def turns(*answers: Any) -> Any:
    def answer(request: ModelRequest) -> Any:
        given = answers[sum(message.role == "assistant" for message in request.messages)]
        return given() if callable(given) else given

    return answer


def told(request: ModelRequest) -> list[str]:
    return [message.content for message in request.messages if message.role == "tool"]


# --- replay ---------------------------------------------------------------------------------------


async def test_a_replay_takes_what_servers_gave_and_asks_none(world: Any, server: Server) -> None:
    calls = [call("docs/look", "one", word="a"), call("docs/send", "two", word="b")]
    world.agent("worker", turns(calls, [call("docs/look", "three")], "done"), **LISTS)
    report = await world.run("worker")
    world.offered.clear()
    found = await world.replay(report.run_id)
    assert found.differences == ()
    assert found.report.results[0].answer == "done"
    assert (server.asked, server.look.calls, server.send.calls) == (1, ["a"], ["b"])
    again = await world.replay(found.run_id)
    assert again.differences == ()


async def test_whether_a_tool_was_approved_by_then_is_known_from_the_record(
    world: Any, server: Server
) -> None:
    server.approved = {"look"}
    world.agent("worker", turns([call("docs/send", word="b")], "done"), **LISTS)
    report = await world.run("worker")
    assert server.send.calls == []
    server.approved = {"send"}
    found = await world.replay(report.run_id)
    assert found.differences == ()


async def test_a_tool_that_was_not_there_is_not_there_in_the_replay(
    world: Any, server: Server
) -> None:
    server.absent = "docs/send"
    model = world.agent("worker", turns([call("docs/send", word="b")], "done"), **LISTS)
    report = await world.run("worker")
    assert "there is no tool" in told(model.requests[-1])[0]
    server.absent = ""
    found = await world.replay(report.run_id)
    assert found.differences == ()


async def test_a_record_without_what_servers_described_is_not_replayed(
    world: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sashizu_core.runtime.serving.written_tools", lambda *_args: "")
    world.agent("worker", ["done"], **LISTS)
    report = await world.run("worker")
    with pytest.raises(SashizuError, match="descriptions were not kept"):
        await world.replay(report.run_id)


# --- resume ---------------------------------------------------------------------------------------


async def test_what_a_server_did_is_not_done_again_and_the_rest_is_asked_of_it(
    world: Any, server: Server
) -> None:
    def crash() -> Any:
        world.cut_off()
        return [call("docs/look", word="c")]

    model = world.agent("worker", turns([call("docs/send", word="b")], crash, "done"), **LISTS)
    report = await world.run("worker")
    asked = len(model.requests)
    server.look.calls.clear()
    found = await world.resume(report.run_id)
    assert found.report.results[0].answer == "done"
    assert server.asked == 2
    assert (server.send.calls, server.look.calls) == (["b"], ["c"])
    assert told(model.requests[-1]) == ["hello, b", "hello, c"]
    assert len(model.requests) == asked + 2
    again = await world.replay(found.run_id)
    assert again.differences == ()


async def test_a_call_of_a_server_in_doubt_is_told_and_not_repeated(
    world: Any, server: Server
) -> None:
    server.send.while_calling = world.cut_off
    model = world.agent("worker", turns([call("docs/send", word="b")], "looked"), **LISTS)
    report = await world.run("worker")
    found = await world.resume(report.run_id)
    assert server.send.calls == ["b"]
    assert [doubt.tool for doubt in found.doubts] == ["docs/send"]
    assert "is not known" in told(model.requests[-1])[0]
    assert (await world.replay(found.run_id)).differences == ()


async def test_a_call_in_doubt_whose_tool_is_gone_is_told_of_all_the_same(
    world: Any, server: Server
) -> None:
    server.send.while_calling = world.cut_off
    model = world.agent("worker", turns([call("docs/send", word="b")], "looked"), **LISTS)
    report = await world.run("worker")
    server.absent = "docs/send"
    found = await world.resume(report.run_id)
    (text,) = told(model.requests[-1])
    assert "is not known" in text
    assert "there is no tool 'docs/send'" in text
    assert (await world.replay(found.run_id)).differences == ()


async def test_a_call_in_doubt_is_made_again_where_somebody_says_so(
    world: Any, server: Server
) -> None:
    server.send.while_calling = world.cut_off
    world.agent("worker", turns([call("docs/send", word="b")], "looked"), **LISTS)
    report = await world.run("worker")
    says = FixedApprover("once")
    await world.resume(report.run_id, approver=says)
    assert server.send.calls == ["b", "b"]
    assert [(question.tool, question.in_doubt) for question in says.asked] == [("docs/send", True)]


async def test_what_only_reads_is_asked_of_its_server_again(world: Any, server: Server) -> None:
    server.look.while_calling = world.cut_off
    model = world.agent("worker", turns([call("docs/look", word="a")], "done"), **LISTS)
    report = await world.run("worker")
    server.look.said = "another"
    found = await world.resume(report.run_id)
    assert found.doubts == ()
    assert server.look.calls == ["a", "a"]
    assert told(model.requests[-1]) == ["another, a"]


async def test_a_server_that_nobody_trusts_any_more_stops_before_anything_is_done(
    world: Any, server: Server
) -> None:
    def crash() -> str:
        world.cut_off()
        return "done"

    model = world.agent("worker", turns([call("docs/look", word="a")], crash), **LISTS)
    report = await world.run("worker")
    server.trusted = False
    asked = len(model.requests)
    with pytest.raises(TrustNeeded):
        await world.resume(report.run_id)
    assert len(model.requests) == asked


# --- a real one -----------------------------------------------------------------------------------


class Held(Nothing):
    """Says that it holds programs, so that servers are started."""

    @property
    def info(self) -> SandboxInfo:
        return SandboxInfo("held", "enforced")


@asynccontextmanager
async def held() -> AsyncIterator[Held]:
    yield Held()


async def test_tools_of_a_real_server_are_replayed_without_it(world: Any) -> None:
    servers = Path(mcp_server.__file__).parents[2] / "tests/client/servers"
    world.settings["mcp"] = {
        "good": {
            "command": sys.executable,
            "args": ["-I", str(servers / "hostile.py"), "good"],
            "protocol": "handshake",
            "trusted": True,
        }
    }
    settings = Settings(world.settings)
    world.offered = {
        "tool_sources": {spec.name: spec for spec in mcp_server.register_tool_sources(settings)},
        "policies": {spec.name: spec for spec in mcp_server.register_policies(settings)},
        "sandboxes": {"held": SandboxSpec("held", "holds nothing", lambda: Held().info, held)},
    }
    calls = [call("good/echo", "one", word="a"), call("good/echo", "two", word=1)]
    world.agent("worker", turns(calls, "done"), tools={"mcp": ["good/*"]})
    report = await world.run("worker")
    assert report.results[0].ok, report.results[0].error
    (answer,) = world.query(
        "SELECT count(*) AS n FROM events WHERE kind = 'tool.ended' AND tool = 'good/echo' "
        "AND status = 'ok'"
    )
    assert answer["n"] == 1
    world.settings["mcp"] = {}
    found = await world.replay(report.run_id)
    assert found.differences == ()

"""Tools of servers are approved as they are; what is new or has changed has somebody asked."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from sashizu_core.errors import SashizuError, TrustNeeded
from sashizu_core.grants import Grants, McpRequest, PathRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.server_entries import read_server_file
from sashizu_core.settings import Settings
from sashizu_core.trust import TrustStore
from sashizu_core.types import StepKind
from sashizu_mcp_server.client.configured import ConfiguredServers
from sashizu_mcp_server.client.pins import pin_book
from sashizu_mcp_server.client.policy import ApprovedTools

SUBJECT = Subject("agent", "agent", (Grants(tools=frozenset({"odd/*"}), fs_read=(".",)),))


def decided(tool, context) -> str:
    requests = tool.requests(tool.parse('{"word": "x"}'), context)
    return authorize(requests, SUBJECT, [ApprovedTools(pin_book())]).verdict


async def test_a_new_tool_is_asked_for_until_somebody_said_yes(run, table) -> None:
    async with run(odd=table("good", timeout="20s")) as one:
        tool = (await one.tools("odd/echo")).tools["odd/echo"]
        assert decided(tool, one.context()) == "ask"
        await one.call(tool)  # which happens only after a yes
        assert decided(tool, one.context()) == "allow"
    async with run(odd=table("good", timeout="20s")) as later:
        tool = (await later.tools("odd/echo")).tools["odd/echo"]
        assert decided(tool, later.context()) == "allow"


async def test_a_tool_that_describes_itself_otherwise_is_suspicious_and_asked_for_again(
    run, table
) -> None:
    async with run(odd=table("good", timeout="20s")) as one:
        tool = (await one.tools("odd/echo")).tools["odd/echo"]
        await one.call(tool)
        assert one.events == []
    async with run(odd=table("hidden-words", timeout="20s")) as later:
        tool = (await later.tools("odd/echo")).tools["odd/echo"]
        assert decided(tool, later.context()) == "ask"
        (event,) = later.events
        assert event["mcp_server"] == "odd"
        assert event["category"] == "tool_changed"
        assert event["sha256"] == tool._served.sha256
        await later.tools("odd/*", name="another")
        assert len(later.events) == 1


async def test_the_tools_of_a_server_that_the_operator_trusts_need_no_first_approval(
    run, table
) -> None:
    async with run(odd=table("claims-harmless", trusted=True)) as one:
        tool = (await one.tools("odd/echo")).tools["odd/echo"]
        assert decided(tool, one.context()) == "allow"
    async with run(odd=table("good", trusted=True)) as later:
        tool = (await later.tools("odd/echo")).tools["odd/echo"]
        assert decided(tool, later.context()) == "ask"
        assert len(later.events) == 1


@pytest.mark.parametrize(("trusted", "kind"), [(True, StepKind.PURE), (False, StepKind.EFFECT)])
async def test_that_a_tool_only_reads_is_believed_of_a_trusted_server(
    run, table, trusted, kind
) -> None:
    async with run(odd=table("claims-harmless", trusted=trusted)) as one:
        assert (await one.tools("odd/echo")).tools["odd/echo"].kind is kind
    async with run(odd=table("good", trusted=trusted)) as one:
        assert (await one.tools("odd/echo")).tools["odd/echo"].kind is StepKind.EFFECT


def test_the_policy_has_no_opinion_on_anything_else() -> None:
    assert ApprovedTools(pin_book()).check(PathRequest("a", "read"), SUBJECT) is None


def test_approval_counts_for_one_server_and_one_description(home) -> None:
    book = pin_book()
    book.pin("user:docs", "docs", {"find": "a" * 64})
    assert book.see("user:docs", "docs", {"find": "a" * 64}) == {"find": "approved"}
    assert book.see("user:docs", "docs", {"find": "b" * 64}) == {"find": "changed"}
    assert book.see("user:docs", "docs", {"other": "a" * 64}) == {"other": "new"}
    assert book.see("repository:/x:docs", "docs", {"find": "a" * 64}) == {"find": "new"}
    assert book.state("docs", "find", "a" * 64) == "new"  # two servers have the name
    assert book.state("docs", "never seen", "a" * 64) == "new"
    assert book.forget("user:docs")
    assert not book.forget("user:docs")
    assert book.see("user:docs", "docs", {"find": "a" * 64}) == {"find": "new"}
    assert ApprovedTools(book).check(McpRequest("docs", "find", "a" * 64), SUBJECT) is not None


def test_what_is_approved_is_kept_where_nobody_else_can_write_it(home: Path) -> None:
    pin_book().pin("user:docs", "docs", {"find": "a" * 64})
    (file,) = (home / "mcp/pins").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o666)
    with pytest.raises(SashizuError, match="others could have written it"):
        pin_book().tools("user:docs")
    file.chmod(0o600)
    file.write_text("{")
    with pytest.raises(SashizuError, match="cannot be understood"):
        pin_book().tools("user:docs")


async def test_a_damaged_file_of_approvals_makes_the_tools_absent(run, table, home: Path) -> None:
    pin_book().pin("user:odd", "odd", {"echo": "a" * 64})
    (file,) = (home / "mcp/pins").glob("*.json")
    file.write_text("{")
    async with run(odd=table("good")) as one:
        served = await one.tools("odd/echo")
        assert "cannot be understood" in served.absent["odd/echo"]


# --- what a folder brings -------------------------------------------------------------------------


def bring(root: Path, table: dict, name: str = ".mcp.json") -> None:
    entry = {key: table[key] for key in ("command", "args")}
    (root / name).write_text(json.dumps({"mcpServers": {"docs": {**entry, "unknown": 1}}}))


def trust(root: Path, name: str = ".mcp.json") -> None:
    TrustStore().trust(root, {name: read_server_file(root / name).sha256})


@pytest.mark.parametrize("name", [".mcp.json", "mcp.json"])
async def test_the_servers_of_a_folder_need_trust_as_they_are(run, table, name) -> None:
    async with run() as one:
        root = one.workspace.root
        bring(root, table("good"), name)
        assert "is not trusted" in (await one.tools("docs/echo")).absent["docs/echo"]
        trust(root, name)
        assert list((await one.tools("docs/echo")).tools) == ["docs/echo"]
        bring(root, table("claims-harmless"), name)
        again = await one.tools("docs/echo", name="later")
        assert "changed since it was trusted" in again.absent["docs/echo"]


async def test_a_run_that_needs_a_server_of_the_folder_is_refused_before_it_begins(
    workspace, table
) -> None:
    servers = ConfiguredServers(Settings(), config=workspace.root)
    bring(workspace.root, table("good"))
    servers.check(workspace.root, [(("other/echo",), {})])
    with pytest.raises(TrustNeeded, match=r"the server 'docs' comes from '\.mcp\.json'") as caught:
        servers.check(workspace.root, [(("docs/echo",), {})])
    assert caught.value.files[0].sha256


async def test_a_folder_never_takes_the_name_of_a_server_of_the_operator(run, table) -> None:
    async with run(docs=table("claims-harmless", timeout="20s")) as one:
        bring(one.workspace.root, table("crash-at-start"))
        assert list((await one.tools("docs/echo")).tools) == ["docs/echo"]


async def test_an_agent_brings_servers_of_its_own(run, table) -> None:
    entry = {key: table("good")[key] for key in ("command", "args")}
    async with run() as one:
        served = await one.tools("mine/echo", servers={"mine": entry})
        assert list(served.tools) == ["mine/echo"]
        assert "is described nowhere" in (await one.tools("mine/echo")).absent["mine/echo"]


async def test_variables_are_told_to_nobody_but_the_servers_of_the_operator(
    run, table, monkeypatch
) -> None:
    monkeypatch.setenv("OUR_KEY", "very secret")
    given = {"env": {"KEY": "${OUR_KEY}", "MODE": "${NO_SUCH:-plain}"}}
    async with run(own=table("good", **given, pass_env=["HOSTNAME"])) as one:
        entry = {**{key: table("good")[key] for key in ("command", "args")}, **given}
        served = await one.tools("own/echo", "theirs/echo", servers={"theirs": entry})
        assert list(served.tools) == ["own/echo"]
        assert "'OUR_KEY' is not told to a server of" in served.absent["theirs/echo"]
        ((_, confinement),) = one.sandbox.asked
        told = confinement.environment
        assert (told["KEY"], told["MODE"]) == ("very secret", "plain")
        assert "OUR_KEY" not in told
        assert "SASHIZU_HOME" not in told

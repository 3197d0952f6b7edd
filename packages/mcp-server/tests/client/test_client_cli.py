"""The command `mcp` shows servers and their tools, and keeps what a person approves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sashizu_core.errors import TrustNeeded, UsageError
from sashizu_core.server_entries import read_server_file
from sashizu_core.trust import TrustStore
from sashizu_mcp_server.client.cli import app
from sashizu_mcp_server.client.faults import NotStarted
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> Path:
    """A folder, and settings with a server over HTTP."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    settings = tmp_path / "config/sashizu/sashizu.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        f'[mcp.far]\nurl = "{address}/good"\n[mcp.off]\ncommand = "x"\ndisabled = true\n'
    )
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def mcp(*words: str, answer: str = "") -> tuple[str, str]:
    """What is printed, on both ways out; raises what the command raises."""
    result = CliRunner().invoke(app, list(words), input=answer, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout, result.stderr


def name_in_ceiling(folder: Path, address: str) -> None:
    """Write an address into the operator's ceiling."""
    settings = folder / "config/sashizu/sashizu.toml"
    with settings.open("a") as file:
        file.write(f'[policy.ceiling.tools.net]\nallow = ["{address}"]\n')


def states() -> dict[str, str]:
    told = json.loads(mcp("test", "far", "--json")[0])
    return {tool["name"]: tool["state"] for tool in told["tools"]}


def test_servers_are_listed_with_whose_they_are(place: Path) -> None:
    (place / ".mcp.json").write_text(
        json.dumps({"mcpServers": {"theirs": {"command": "x\x1b[2J"}, "far": {"command": "y"}}})
    )
    told = json.loads(mcp("list", "--json")[0])
    assert {row["name"]: row["usable"] for row in told["servers"]} == {"far": True, "theirs": False}
    out, _ = mcp("list")
    assert "theirs  (needs trust: sashizu trust)" in out
    assert "\x1b" not in out
    assert "off" not in out


def test_without_any_server_it_says_where_one_is_described(tmp_path: Path) -> None:
    (tmp_path / "config/sashizu/sashizu.toml").unlink()
    assert "there are no servers" in mcp("list")[1]


def test_tools_are_shown_with_their_fingerprints_and_approved(home: Path) -> None:
    out, _ = mcp("test", "far")
    assert "far: protocol 2025-06-18" in out
    assert "far/echo  (new)" in out
    assert states() == {"far/echo": "new"}
    with pytest.raises(UsageError, match="nothing was approved"):
        mcp("approve", "far", answer="n\n")
    mcp("approve", "far/echo", "--yes")
    assert states() == {"far/echo": "approved"}
    assert "1 tools approved" in mcp("list")[0]
    mcp("forget", "far")
    assert states() == {"far/echo": "new"}
    with pytest.raises(UsageError, match="no tool of the server 'far' is approved"):
        mcp("forget", "far")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["test", "fra"], "did you mean 'far'"),
        (["approve", "far/ecco"], "did you mean 'far/echo'"),
        (["login", "far"], "has no 'oauth = true'"),
        (["test", "off"], "there is no server 'off'"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_what_is(words, said) -> None:
    with pytest.raises(UsageError, match=said):
        mcp(*words)


def test_a_server_of_the_folder_is_not_asked_without_trust(place: Path, address: str) -> None:
    file = place / ".mcp.json"
    file.write_text(json.dumps({"mcpServers": {"theirs": {"url": f"{address}/good"}}}))
    with pytest.raises(TrustNeeded):
        mcp("test", "theirs")
    TrustStore().trust(place, {".mcp.json": read_server_file(file).sha256})
    with pytest.raises(NotStarted, match=r"loopback.*the operator's own settings"):
        mcp("test", "theirs")
    name_in_ceiling(place.parent, address)
    assert "theirs/echo" in mcp("test", "theirs")[0]


def test_what_the_operator_does_not_allow_is_not_asked_either(tmp_path: Path) -> None:
    name_in_ceiling(tmp_path, "example.org")
    with pytest.raises(NotStarted, match="no grant allows it"):
        mcp("test", "far")


def test_a_server_of_an_agent_is_asked_by_the_agents_name(tmp_path: Path, address: str) -> None:
    name_in_ceiling(tmp_path, address)
    agents = tmp_path / "config/sashizu/agents"
    agents.mkdir()
    (agents / "librarian.yaml").write_text(
        "name: librarian\ngoal: g\ntools:\n  mcp: [mine/*]\n"
        f"servers:\n  mine:\n    url: {address}/good\n"
    )
    assert "mine" in mcp("list")[0]
    assert "mine/echo" in mcp("test", "mine", "--agent", "librarian")[0]
    with pytest.raises(UsageError):
        mcp("test", "mine")

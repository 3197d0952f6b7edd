"""`sashizu trust` shows the servers that a folder brings, and trusts the file as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sashizu_cli.brought import brought_files
from sashizu_cli.session import Session
from sashizu_core.trust import TrustStore


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SASHIZU_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_each_server_is_shown_with_what_it_would_start(place: Path) -> None:
    servers = {"docs": {"command": "npx", "args": ["thing"]}, "far": {"url": "https://x.org"}}
    (place / ".mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (file,) = brought_files(Session())
    assert (file.path, file.state) == (".mcp.json", "new")
    assert file.wants == (
        ("server docs", "start npx thing"),
        ("server far", "connect to https://x.org"),
    )
    TrustStore().trust(place, {file.path: file.sha256})
    assert brought_files(Session())[0].state == "trusted"
    (place / ".mcp.json").write_text("{}")
    assert brought_files(Session())[0].state == "changed"


def test_a_broken_file_of_servers_cannot_be_trusted(place: Path) -> None:
    (place / "mcp.json").write_text("{")
    (file,) = brought_files(Session())
    assert (file.path, file.state, file.trustable) == ("mcp.json", "broken", False)


def test_the_servers_of_an_agent_are_among_what_it_wants(place: Path) -> None:
    agents = place / ".sashizu/agents"
    agents.mkdir(parents=True)
    (agents / "a.yaml").write_text(
        "name: a\ngoal: g\nservers:\n  docs:\n    command: rm\n    args: [-rf, /]\n"
    )
    (file,) = brought_files(Session())
    assert ("server docs", "start rm -rf /") in file.wants

"""Tools of servers by name: `server/tool` is one, `server/*` all of one server and no other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.agents import AgentDefinition, effective_tools
from sashizu_core.agents.effective import served_tools
from sashizu_core.errors import ConfigError
from sashizu_core.grants import Grants, McpRequest, Subject, ToolRequest
from sashizu_core.permissions import authorize, effective
from sashizu_core.server_entries import (
    MOST_SERVERS,
    ServerFile,
    brought_server_files,
    known_entries,
    read_server_file,
)

NAMES = st.sampled_from(["a/*", "a/x", "a/y", "b/*", "b/x", "grep", "a", "*", "ab/x"])
TOOLS = st.none() | st.frozensets(NAMES, max_size=4)
CALLS = [("a", "x"), ("a", "y"), ("b", "x"), ("ab", "x"), ("c", "x")]


def allowed(chain: tuple[Grants, ...]) -> set[str]:
    subject = Subject("id", "agent", chain)
    found = {f"{s}/{t}" for s, t in CALLS if authorize([McpRequest(s, t, "")], subject).allowed}
    return found | {t for t in ("grep", "a") if authorize([ToolRequest(t)], subject).allowed}


@given(st.lists(TOOLS, min_size=1, max_size=3))
def test_what_a_chain_allows_of_servers_is_what_its_effective_grants_allow(levels):
    chain = tuple(Grants(tools=tools) for tools in levels)
    assert allowed(chain) == allowed((effective(chain),))
    assert allowed(chain) <= set.intersection(*(allowed((level,)) for level in chain))


def test_all_of_a_server_is_no_other_server_and_no_other_tool() -> None:
    assert allowed((Grants(tools=frozenset({"a/*"})),)) == {"a/x", "a/y"}
    assert allowed((Grants(tools=frozenset({"a/x"})),)) == {"a/x"}
    assert allowed((Grants(tools=frozenset({"*"})),)) == set()


def test_what_is_listed_of_servers_is_asked_for_where_somebody_can_be_asked() -> None:
    tools = {"mcp": ["docs/*", "docs/find"]}
    agent = AgentDefinition.model_validate({"name": "a", "goal": "g", "tools": tools})
    assert served_tools(agent, {}) == ("docs/*", "docs/find")
    assert effective_tools(agent, {}, served=True) == ({}, {})
    assert set(effective_tools(agent, {})[1]) == {"docs/*", "docs/find"}


# --- files of servers -----------------------------------------------------------------------------


def test_a_file_of_servers_says_what_each_would_start_or_reach(tmp_path: Path) -> None:
    servers = {
        "one": {"command": "npx", "args": ["-y", "thing"], "env": {"KEY": "secret"}, "extra": 1},
        "two": {"type": "http", "url": "https://example.org/mcp"},
        "sse": {"type": "sse", "url": "https://example.org/sse"},
        "both": {"command": "x", "url": "https://example.org"},
        "none": {},
        "odd name/": {"command": "x"},
        "text": "x",
        "nul": {"command": "a\0b"},
    }
    file = tmp_path / ".mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    found = read_server_file(file)
    assert {name: entry.wants() for name, entry in found.servers.items()} == {
        "one": "start npx -y thing with KEY",
        "two": "connect to https://example.org/mcp",
    }
    assert len(found.problems) == 6
    assert len(found.sha256) == 64


@pytest.mark.parametrize("text", ["{", "[]", '{"mcpServers": []}', "[" * 100_000])
def test_a_file_that_is_none_of_servers_is_an_error_with_its_name(tmp_path: Path, text) -> None:
    (tmp_path / "mcp.json").write_text(text)
    with pytest.raises(ConfigError, match=r"mcp\.json"):
        read_server_file(tmp_path / "mcp.json")
    (broken,) = brought_server_files(tmp_path)
    assert isinstance(broken, ConfigError)


def test_both_files_of_a_folder_are_read_and_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / ".mcp.json").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mcp.json").write_text("{}")
    first, second = brought_server_files(tmp_path)
    assert isinstance(first, ConfigError)
    assert isinstance(second, ServerFile)
    assert second.servers == {}


def test_a_file_cannot_name_more_servers_than_anybody_looks_at() -> None:
    servers = {f"s{n}": {"command": "x"} for n in range(MOST_SERVERS + 1)}
    found, problems = known_entries(servers)
    assert len(found) == MOST_SERVERS
    assert problems

"""Agents of the Codex command line: `.codex/agents/NAME.toml`."""

from __future__ import annotations

from pathlib import Path

from sashizu_core.agents.definition import AgentDefinition
from sashizu_core.agents.foreign import READING_TOOLS, WRITING_TOOLS, Translation
from sashizu_core.agents.yaml_source import definition_of
from sashizu_core.toml_text import read_toml

__all__ = ["read_codex_agent"]

_KNOWN = frozenset({"name", "description", "developer_instructions", "sandbox_mode", "mcp_servers"})
_LOST = {
    "model": "its models are named otherwise; choose one with --model",
    "model_reasoning_effort": "effort is not part of a definition",
    "nickname_candidates": "agents have one name",
}
_WRITES = ("workspace-write", "danger-full-access")


def read_codex_agent(text: str, file: Path) -> tuple[AgentDefinition, tuple[str, ...]]:
    """Read one definition; returns it and what was not taken over.

    It may read the whole workspace, and write to it only with a `sandbox_mode` that says so. All
    tools of its servers are its own.

    Raises:
        ConfigError: it is no TOML, or lacks `name`, `description` or `developer_instructions`.
    """
    document = read_toml(text, file)
    for key in ("name", "description", "developer_instructions"):
        if not isinstance(document.data.get(key), str):
            raise document.error((key,), f"{key!r} is missing or no text")
    agent = Translation(document)
    agent.warn_of_others(_KNOWN, _LOST)
    agent.add_tools(*READING_TOOLS)
    mode = document.data.get("sandbox_mode", "read-only")
    if mode in _WRITES:
        agent.add_tools(*WRITING_TOOLS)
    if mode == "danger-full-access":
        agent.warn(("sandbox_mode",), f"{mode!r} is taken as 'workspace-write'")
    elif mode not in ("read-only", *_WRITES):
        agent.warn(("sandbox_mode",), f"{mode!r} is not known, and taken as 'read-only'")
    servers = document.data.get("mcp_servers", {})
    if not isinstance(servers, dict):
        raise document.error(("mcp_servers",), "'mcp_servers' is a table of tables")
    agent.add_servers(("mcp_servers",), servers, listed=True)
    data = {
        "name": agent.text("name"),
        "goal": agent.text("description"),
        "instructions": agent.text("developer_instructions"),
        "tools": agent.tools(),
        "servers": agent.servers,
    }
    return definition_of(data, document), tuple(agent.warnings)

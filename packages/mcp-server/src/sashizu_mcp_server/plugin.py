"""What sashizu-mcp-server offers: the tools of MCP servers, and the commands of the server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from sashizu_core.hookspecs import hookimpl
from sashizu_core.hosts import AgentHost
from sashizu_core.protocols import Policy, ToolSource
from sashizu_core.settings import Settings
from sashizu_core.specs import CommandSpec, HostSpec, PolicySpec, ToolSourceSpec

__all__ = [
    "register_commands",
    "register_hosts",
    "register_policies",
    "register_tool_sources",
]


@hookimpl
def register_tool_sources(settings: Settings) -> Sequence[ToolSourceSpec]:
    def open_(workspace: Path) -> AbstractAsyncContextManager[ToolSource]:
        from sashizu_mcp_server.client.configured import ConfiguredServers
        from sashizu_mcp_server.client.source import open_server_tools

        return open_server_tools(lambda: ConfiguredServers(settings), workspace)

    def check(workspace: Path, agents: Sequence[tuple[tuple[str, ...], Mapping[str, Any]]]) -> None:
        from sashizu_mcp_server.client.configured import ConfiguredServers

        ConfiguredServers(settings).check(workspace, agents)

    from sashizu_mcp_server.client.configured import known_secrets

    secrets = known_secrets(settings, os.environ)
    return [ToolSourceSpec("mcp", "the tools of MCP servers", open_, check, secrets)]


@hookimpl
def register_policies(settings: Settings) -> Sequence[PolicySpec]:
    def open_() -> AbstractAsyncContextManager[Policy]:
        from sashizu_mcp_server.client.policy import open_policy

        return open_policy()

    return [PolicySpec("mcp", "asks before a tool of a server is called that is new", open_)]


@hookimpl
def register_hosts(settings: Settings) -> Sequence[HostSpec]:
    def open_(workspace: Path) -> AbstractAsyncContextManager[AgentHost]:
        from sashizu_mcp_server.hosting.host import open_host

        return open_host(workspace, settings)

    return [HostSpec("process", "a process of its own for each agent", open_)]


@hookimpl
def register_commands() -> Sequence[CommandSpec]:
    offered = {
        "mcp": ("List, test and approve servers of tools.", "client.cli"),
        "mcp-server": ("Serve agents and tools over the Model Context Protocol.", "cli"),
        "acp": ("Serve agents to an editor over the Agent Client Protocol.", "acp.cli"),
        "app-server": ("Serve conversations to older clients.", "appserver.cli"),
    }
    return [
        CommandSpec(name, summary, f"sashizu_mcp_server.{module}:app")
        for name, (summary, module) in offered.items()
    ]

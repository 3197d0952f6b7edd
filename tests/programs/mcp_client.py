"""Uses a server as an agent's run does: lists its tools and calls each once.

    python mcp_client.py URL

What the protocol's conformance suite starts. `MCP_CONFORMANCE_PROTOCOL_VERSION` says in which era,
`MCP_CONFORMANCE_SCENARIO` whether there is to be logged in.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
from sashizu_core.errors import SashizuError
from sashizu_core.grants import Grants, Subject
from sashizu_core.permissions import readable
from sashizu_core.protocols import Tool, ToolContext, ToolsWanted
from sashizu_core.settings import Settings
from sashizu_core.workspace import Workspace
from sashizu_mcp_server.client import oauth
from sashizu_mcp_server.client.configured import ConfiguredServers
from sashizu_mcp_server.client.oauth import Login, listening
from sashizu_mcp_server.client.source import open_server_tools

MODERN = "2026-07-28"
SHOWN, ECHO = "suite/json_schema_2020_12_tool", "suite/json_schema_echo"


def settings(url: str) -> Settings:
    version = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", "")
    logs_in = os.environ.get("MCP_CONFORMANCE_SCENARIO", "").startswith("auth/")
    # Thirty of these run at once, on however few cores.
    patient = {"timeout": "240s", "start_timeout": "240s"}
    table: dict[str, Any] = {"url": url, "oauth": logs_in, "trusted": True, **patient}
    if version:
        table["protocol"] = "modern" if version == MODERN else "handshake"
    return Settings({"mcp": {"suite": table}})


def value(schema: dict[str, Any]) -> Any:
    """Something that a schema allows."""
    if "const" in schema:
        return schema["const"]
    if schema.get("type") == "object":
        required = schema.get("required", [])
        return {name: value(schema["properties"][name]) for name in required}
    return {"string": "word", "boolean": True, "array": []}.get(schema.get("type", ""), 5)


def calls(tools: Mapping[str, Tool]) -> Iterator[tuple[Tool, Any]]:
    """Every tool with arguments: those that the scenario gives, or some that its schema allows."""
    given = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}")).get("toolCalls", [])
    for call in given:
        if (tool := tools.get(f"suite/{call['name']}")) is not None:
            yield tool, call["arguments"]
    for name, tool in tools.items() if not given else ():
        schema = dict(tool.schema.parameters)
        if name == ECHO:  # tells what has become of the schema of another tool
            yield tool, {"schema": tools[SHOWN].schema.parameters}
        else:
            yield tool, value({**schema, "required": [*schema.get("properties", {})]})


async def use(url: str, workspace: Workspace, login: Login) -> None:
    found = settings(url)
    grants = Grants(tools=frozenset({"suite/*"}), fs_read=(".",))
    subject = Subject("agent", "agent", (grants,))
    wanted = ToolsWanted(subject, ("suite/*",), workspace)
    servers = ConfiguredServers(found, config=workspace.root / "config")
    context = ToolContext(
        "agent", "agent", "run", workspace, readable=readable(subject), progress=print
    )
    async with open_server_tools(lambda: servers, workspace.root, login=login) as source:
        served = await source.tools(wanted)
        for name, why in served.absent.items():
            print(f"absent: {name}: {why}", file=sys.stderr)
        for tool, arguments in calls(served.tools):
            try:
                print(await tool.run(tool.parse(json.dumps(arguments)), context))
            except SashizuError as error:
                print(f"failed: {tool.schema.name}: {error}", file=sys.stderr)


async def main(url: str) -> None:
    oauth.REDIRECT_PORT = 10_000 + os.getpid() % 20_000  # many are started at once
    send, receive = anyio.create_memory_object_stream[str](8)
    login = Login(send.send_nowait, browser=False)

    async def browse() -> None:
        async with httpx2.AsyncClient(trust_env=False, follow_redirects=True) as browser:
            async for address in receive:
                await browser.get(address)

    folder = Path.cwd() / "work"
    folder.mkdir(exist_ok=True)
    with Workspace.open(folder) as workspace:
        async with anyio.create_task_group() as group, listening(login):
            group.start_soon(browse)
            await use(url, workspace, login)
            group.cancel_scope.cancel()


anyio.run(main, sys.argv[-1])

"""A server that behaves, by the protocol's own library; over HTTP if it is given a port."""

import os
import sys
from pathlib import Path

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import ToolAnnotations

server = MCPServer("polite", instructions="Be kind.")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def echo(word: str) -> str:
    """Says a word."""
    return f"{word} from {os.getpid()}"


@server.tool()
def add(first: int, second: int) -> int:
    """Adds two numbers."""
    return first + second


@server.tool()
def fail() -> str:
    """Always fails."""
    raise ValueError("as promised")


@server.tool()
async def wait(context: Context) -> str:
    """Waits until nobody waits any more."""
    await context.report_progress(1, 2, "waiting")
    try:
        await anyio.sleep_forever()
    finally:
        with Path(os.environ["HEARD"]).open("a") as log:
            log.write("cancelled\n")
    return "never"


@server.tool()
def variables() -> dict[str, str]:
    """Tells its environment."""
    return dict(os.environ)


if len(sys.argv) > 1:
    server.run("streamable-http", port=int(sys.argv[1]))
else:
    server.run("stdio")

"""Servers of the protocol's own library, for `mcp_start.py`.

    python mcp_server.py high|low|low-file [PORT]

`high` is its `MCPServer`, `low` its low-level server, both with a tool that adds two numbers;
`low-file` has a tool that reads a file as `sashizu mcp-server` does, judged and recorded by nobody.
With a port, streamable HTTP.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path


def high() -> None:
    from mcp.server import MCPServer

    server = MCPServer("bench", log_level="ERROR")

    @server.tool()
    async def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    server.run()


def low(*, reads: bool) -> None:
    import anyio
    import mcp_types as types
    from mcp.server.lowlevel import Server
    from mcp.server.stdio import stdio_server

    async def listed(ctx, params):
        schema = {"type": "object"}
        tool = types.Tool(name="read_file" if reads else "add", input_schema=schema)
        return types.ListToolsResult(tools=[tool])

    def numbered(path: str) -> str:
        data = Path(path).read_bytes()
        lines = enumerate(data.decode().splitlines(), 1)
        shown = "\n".join(f"{number:>6}\t{line}" for number, line in lines)
        return f"{shown}\n[{len(data)} bytes; sha256 {hashlib.sha256(data).hexdigest()}]"

    async def called(ctx, params):
        given = params.arguments
        if reads:
            text = await anyio.to_thread.run_sync(numbered, given["path"])
        else:
            text = str(given["a"] + given["b"])
        return types.CallToolResult(content=[types.TextContent(text=text)])

    server = Server("bench", on_list_tools=listed, on_call_tool=called)
    if len(sys.argv) > 2:
        import uvicorn

        app = server.streamable_http_app()
        uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
        return

    async def serve() -> None:
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())

    anyio.run(serve)


if __name__ == "__main__":
    high() if sys.argv[1] == "high" else low(reads=sys.argv[1] == "low-file")

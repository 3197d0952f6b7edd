"""Runs the agent side on stdin and stdout until the editor is gone."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import cast

import anyio
from acp.agent.connection import AgentSideConnection
from acp.interfaces import Agent

from sashizu_mcp_server.acp.agent import EditorAgent
from sashizu_mcp_server.acp.session import EditorOptions
from sashizu_mcp_server.acp.wire import LineTransport

__all__ = ["serve"]


def serve(options: EditorOptions) -> int:
    """Serve one editor; returns the exit code.

    Whatever else is printed in this process goes to stderr: stdout is the editor's.
    """
    logging.basicConfig(level=logging.WARNING, format="sashizu: %(levelname)s: %(message)s")
    stdout = os.dup(1)
    os.dup2(2, 1)
    try:
        # The library is made of asyncio, so there is no choice here.
        anyio.run(_main, options, stdout, backend="asyncio")
    except KeyboardInterrupt:
        return 130
    finally:
        os.close(stdout)
    return 0


async def _main(options: EditorOptions, stdout: int) -> None:
    agent = EditorAgent(options)
    transport = LineTransport(0, stdout)
    connection = AgentSideConnection(cast(Agent, agent), transport, listening=False)
    async with anyio.create_task_group() as group:
        group.start_soon(_until_signal, group.cancel_scope)
        try:
            await connection.listen()
        finally:
            await agent.close()
            with anyio.CancelScope(shield=True):
                await connection.close()
        group.cancel_scope.cancel()


async def _until_signal(scope: anyio.CancelScope) -> None:
    if sys.platform == "win32":
        await anyio.sleep_forever()
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGHUP) as signals:
        async for _ in signals:
            scope.cancel()
            return

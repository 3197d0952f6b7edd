"""The command `app-server`."""

from __future__ import annotations

import logging
from typing import Annotated

import anyio
import typer

from sashizu_mcp_server.cli import server_options
from sashizu_mcp_server.startup.options import Options

__all__ = ["app"]

app = typer.Typer(
    help="Serve conversations to older clients, over stdin and stdout.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def app_server(
    policy: Annotated[
        str,
        typer.Option("--policy", metavar="FILE", help="The most that agents may do."),
    ] = "",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget", metavar="LIMIT", help="What all conversations may use; repeatable."
        ),
    ] = None,
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model.")] = "",
) -> None:
    """Serve conversations to older clients: newConversation, sendUserMessage and their kin.

    New programs use mcp-server.
    """
    logging.basicConfig(level=logging.WARNING, format="sashizu: %(levelname)s: %(message)s")
    anyio.run(_serve, server_options(policy, "", budget or [], model, ""))


async def _serve(options: Options) -> None:
    from sashizu_mcp_server.appserver.server import AppServer
    from sashizu_mcp_server.server.run import until_signal
    from sashizu_mcp_server.server.service import open_service

    async with anyio.create_task_group() as group:
        group.start_soon(until_signal, group.cancel_scope)
        async with open_service(options) as service:
            await AppServer(service).serve()
        group.cancel_scope.cancel()

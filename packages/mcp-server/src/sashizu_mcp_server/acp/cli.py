"""The command `acp`."""

from __future__ import annotations

from typing import Annotated

import typer
from sashizu_core.errors import UsageError
from sashizu_core.limits import parse_limits

__all__ = ["app"]

app = typer.Typer(
    help="Serve agents to an editor over the Agent Client Protocol.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def acp(
    ctx: typer.Context,
    agent: Annotated[
        str, typer.Option("--agent", metavar="AGENT", help="The agent that is talked to.")
    ] = "general",
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="The model of every agent.")
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            metavar="LIMIT",
            help="What each prompt may use, such as 60000, 2.5usd, 15m; repeatable.",
        ),
    ] = None,
    no_audit: Annotated[
        bool, typer.Option("--no-audit", help="Keep no durable record of what agents do.")
    ] = False,
) -> int:
    """Serve agents to an editor over the Agent Client Protocol, on stdin and stdout.

    An editor starts this; every session is a conversation, which 'sashizu run --continue' can go on
    with. Settings are those of the folder that a session works in.
    """
    from sashizu_mcp_server.acp.serve import serve
    from sashizu_mcp_server.acp.session import EditorOptions

    if not agent.strip():
        raise UsageError("--agent names no agent (`sashizu agent list` shows them all)")
    overrides = tuple(getattr(ctx.find_root().obj, "overrides", ()))
    limits = parse_limits(budget) if budget else None
    return serve(EditorOptions(agent, model, limits, not no_audit, overrides))

"""The command `mcp-server` for help and for words that need it; servers begin in `startup`."""

from __future__ import annotations

from typing import Annotated

import typer

from sashizu_mcp_server.startup.options import Options

__all__ = ["app", "server_options"]

app = typer.Typer(
    help="Serve agents and tools over the Model Context Protocol.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def mcp_server(
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="The most that clients and agents may do, as the table [policy] of the settings; "
            "without it they read this folder, and write, run and connect to nothing.",
        ),
    ] = "",
    http: Annotated[
        str,
        typer.Option(
            "--http",
            metavar="HOST:PORT",
            help="Serve streamable HTTP at /mcp there, instead of stdin and stdout.",
        ),
    ] = "",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            metavar="LIMIT",
            help="What all clients together may use, such as 60000, 2.5usd; repeatable.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="The model of every agent.")
    ] = "",
    idle: Annotated[
        str,
        typer.Option(
            "--idle", metavar="TIME", help="End after so long without a request; 12h by default."
        ),
    ] = "",
    token_file: Annotated[
        str,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Where the token for HTTP is kept, mode 0600; made if it is not there.",
        ),
    ] = "",
    no_token: Annotated[
        bool, typer.Option("--no-token", help="Ask for no token; on loopback only.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="A further name it is reached by; repeatable."
        ),
    ] = None,
    no_audit: Annotated[
        bool, typer.Option("--no-audit", help="Keep no durable record of what agents do.")
    ] = False,
    late: Annotated[
        bool, typer.Option("--late", help="Import everything before the first answer.")
    ] = False,
    leased: Annotated[
        bool,
        typer.Option(
            "--leased",
            help="Serve one agent that another process of sashizu hands over with a lease.",
        ),
    ] = False,
) -> None:
    """Serve agents and tools over the Model Context Protocol."""
    from sashizu_mcp_server.server.run import run_server
    from sashizu_mcp_server.startup.front import Opening

    options = server_options(policy, http, budget or (), model, idle)
    options.token, options.token_file = not no_token, token_file
    options.allow_hosts = list(allow_host or ())
    options.audit, options.late, options.leased = not no_audit, late, leased
    raise typer.Exit(run_server(options, Opening()))


def server_options(
    policy: str, http: str, budget: list[str] | tuple[str, ...], model: str, idle: str
) -> Options:
    """What bounds a server, as it was written."""
    options = Options()
    options.policy, options.http, options.model, options.idle = policy, http, model, idle
    options.budget = list(budget)
    return options

"""`sashizu policy`: what an agent may do, and why a call would be allowed or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sashizu_cli import render
from sashizu_cli.catalogue import complete_agents
from sashizu_cli.json_text import json_text
from sashizu_cli.plain import one_line
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_group

if TYPE_CHECKING:
    from sashizu_cli.explaining import Explanation
    from sashizu_cli.policy_view import Backend, Permission

app = new_group("See what agents may do, and why.")

Agent = Annotated[
    str,
    typer.Option("--agent", metavar="NAME", autocompletion=complete_agents, help="The agent."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(cls=Command)
def show(ctx: typer.Context, agent: Agent, as_json: AsJson = False) -> None:
    """Print the effective permission of an agent in a run from here.

    It is what the agent's own grants, the operator's ceiling and all rules leave together.
    """
    import anyio

    from sashizu_cli.policy_view import permission_data, planned_permission

    found = anyio.run(planned_permission, session_of(ctx), agent)
    if as_json:
        render.raw(json_text(permission_data(found), indent=2))
    else:
        _print_permission(found)


def _print_permission(found: Permission) -> None:
    render.line(f"# what {one_line(found.agent)} may do\n")
    rows = [("KIND", "GRANTED", "FROM")]
    rows += [(kind, value, "; ".join(sources)) for kind, value, sources in found.granted]
    render.table(rows if len(rows) > 1 else [("nothing is granted",)])
    if found.rules:
        render.line("\n# except")
        render.table([("RULE", "REASON", "FROM"), *found.rules])
    render.line("\n# tools")
    render.table(list(found.tools.items()) or [("none", "")])
    if found.absent:
        render.line("\n# listed, but not there")
        render.table(list(found.absent.items()))
    render.line("\n# what keeps it to that")
    render.table([(what, _held(backend)) for what, backend in found.backends.items()])
    render.line(f"\npolicy_sha256 {found.policy_sha256}")


@app.command(cls=Command)
def explain(
    ctx: typer.Context,
    agent: Agent,
    tool: Annotated[str, typer.Option("--tool", metavar="TOOL", help="The tool it would call.")],
    args: Annotated[
        str, typer.Option("--args", metavar="JSON", help="The arguments of the call.")
    ] = "{}",
    as_json: AsJson = False,
) -> None:
    """Print what would be decided about a tool call, and why.

    Nothing is done. The exit code is 0 whatever the decision is.
    """
    from dataclasses import asdict

    import anyio

    from sashizu_cli.explaining import explain as explained

    found = anyio.run(explained, session_of(ctx), agent, tool, args)
    if as_json:
        render.raw(json_text(asdict(found), indent=2))
    else:
        _print_explanation(found)


def _print_explanation(found: Explanation) -> None:
    render.line(f"{found.decision}: {found.reason}")
    for request in found.requests:
        render.line(f"\n{request.decision}  {request.asks}")
        render.line(f"  rule     {request.rule or 'none'}")
        render.line(f"  from     {request.source or '-'}")
        if request.decision != "allow":
            render.line(f"  reason   {request.reason}")
        render.line(f"  held by  {_held(request.backend)}")


def _held(backend: Backend) -> str:
    reason = f": {backend.reason}" if backend.reason else ""
    return f"{backend.name} ({backend.kind}{reason})"

"""The command `mcp`: the only module of the client that prints."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import anyio
import typer
from sashizu_core.agents import load_catalogue
from sashizu_core.errors import SashizuError, UsageError, nearest
from sashizu_core.plugins import open_registry
from sashizu_core.settings import Settings, command_settings
from sashizu_core.trust import TrustStore

from sashizu_mcp_server.client.asking import Asked, ask
from sashizu_mcp_server.client.configured import ConfiguredServers, ServerConfig
from sashizu_mcp_server.client.listing import ServedTool
from sashizu_mcp_server.client.oauth import Login, listening
from sashizu_mcp_server.client.pins import pin_book
from sashizu_mcp_server.client.words import clean_line

__all__ = ["app"]

app = typer.Typer(
    help="List, test and approve servers of tools.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a server.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
OfAgent = Annotated[
    str | None, typer.Option("--agent", metavar="AGENT", help="A server of this agent's own.")
]


@app.callback()
def mcp() -> None:
    """List, test and approve servers of tools."""


@app.command("list")
def list_(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the servers that agents can use here, and how many of their tools are approved.

    Nothing is started or reached. Servers that the folder brings need trust: sashizu trust.
    """
    settings, here = _settings(ctx), Path.cwd()
    servers = ConfiguredServers(settings)
    rows = [_row(config, usable=usable) for config, usable in _all(servers, settings, here)]
    if as_json:
        typer.echo(json.dumps({"servers": rows, "problems": servers.problems}, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['name']}  {'' if row['usable'] else '(needs trust: sashizu trust)  '}")
        typer.echo(f"  from:  {row['from']}")
        typer.echo(f"  does:  {row['does']}")
        marks = [f"{row['approved']} tools approved"]
        marks += ["trusted by you"] if row["trusted"] else []
        typer.echo(f"  tools: {', '.join(marks)}")
    for problem in servers.problems:
        typer.echo(clean_line(problem, 500), err=True)
    if not rows:
        typer.echo("there are no servers; describe one in sashizu.toml under [mcp.NAME]", err=True)


@app.command("test")
def look(ctx: typer.Context, name: Name, agent: OfAgent = None, as_json: AsJson = False) -> None:
    """Start or reach a server, and show its tools, their fingerprints, and which are approved."""
    settings = _settings(ctx)
    asked = anyio.run(ask, settings, _named(settings, name, agent), Path.cwd())
    if as_json:
        typer.echo(json.dumps(_told(asked), indent=2))
    else:
        _show(asked)


@app.command()
def approve(
    ctx: typer.Context,
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="A server, or SERVER/TOOL; repeatable.")
    ],
    agent: OfAgent = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Approve what is shown without being asked.")
    ] = False,
) -> None:
    """Approve tools as their server describes them now, so that nobody is asked for each.

    A tool that describes itself otherwise later needs approval again.
    """
    settings = _settings(ctx)
    for server in dict.fromkeys(name.partition("/")[0] for name in names):
        config = _named(settings, server, agent)
        asked = anyio.run(ask, settings, config, Path.cwd())
        tools = _chosen(asked, [name for name in names if name.partition("/")[0] == server])
        _show(asked, tools)
        if not yes and not typer.confirm(f"Approve these {len(tools)} tools as shown?"):
            raise UsageError("nothing was approved")
        digests = {tool.name: tool.sha256 for tool in tools}
        pin_book().pin(config.identity, config.name, digests)
        typer.echo(f"approved: {', '.join(tool.qualified for tool in tools)}", err=True)


@app.command()
def forget(ctx: typer.Context, name: Name, agent: OfAgent = None) -> None:
    """Approve no tool of a server any more."""
    config = _named(_settings(ctx), name, agent)
    if not pin_book().forget(config.identity):
        raise UsageError(f"no tool of the server {name!r} is approved")
    typer.echo(f"no tool of {name} is approved any more", err=True)


@app.command()
def login(ctx: typer.Context, name: Name) -> None:
    """Log in to a server that wants it, in a browser on this machine."""
    settings = _settings(ctx)
    config = _named(settings, name, None)
    if not config.oauth:
        raise UsageError(f"the server {name!r} has no 'oauth = true' in its table [mcp.{name}]")
    asked = anyio.run(_log_in, settings, config)
    typer.echo(f"logged in to {name}: {len(asked.listing.tools)} tools", err=True)


async def _log_in(settings: Settings, config: ServerConfig) -> Asked:
    def show(address: str) -> None:
        typer.echo(f"open this page to log in: {address}", err=True)

    person = Login(show)
    async with listening(person):
        return await ask(settings, config, Path.cwd(), login=person)


# --- what is there --------------------------------------------------------------------------------


def _settings(ctx: typer.Context) -> Settings:
    """Those of the calling command line; alone, those of the working directory."""
    return command_settings(ctx.find_root().obj)


def _all(
    servers: ConfiguredServers, settings: Settings, here: Path
) -> Iterator[tuple[ServerConfig, bool]]:
    for config in servers.own.values():
        yield config, True
    catalogue = load_catalogue(open_registry(settings).agents.values(), workspace=here)
    store = TrustStore()
    for entry in catalogue:
        if entry.definition.servers:
            usable = not store.untrusted(here, [entry])
            for config in servers.of_agent(entry.definition.servers, entry.name, here):
                yield config, usable
    for config, usable in servers.of_workspace(here):
        if config.name not in servers.own:
            yield config, usable


def _named(settings: Settings, name: str, agent: str | None) -> ServerConfig:
    """The server of a name, if it may be used.

    Raises:
        UsageError: there is none.
        TrustNeeded: it is the folder's, or that of an agent of the folder, and nobody trusts it.
    """
    here = Path.cwd()
    servers = ConfiguredServers(settings)
    own: dict[str, Any] = {}
    if agent is not None:
        catalogue = load_catalogue(open_registry(settings).agents.values(), workspace=here)
        entry = catalogue.entry(agent)
        TrustStore().require(here, [entry])
        own, agent = dict(entry.definition.servers), entry.name
    config = servers.find(name, own, agent or "", here)
    if config is None:
        known = [found.name for found, _ in _all(servers, settings, here)]
        raise UsageError(
            f"there is no server {name!r}{nearest(name, known)} (`sashizu mcp list` shows all)"
        )
    return config


def _chosen(asked: Asked, names: Sequence[str]) -> list[ServedTool]:
    if asked.config.name in names:
        return list(asked.listing.tools.values())
    chosen = []
    for name in names:
        tool = asked.listing.tools.get(name.partition("/")[2])
        if tool is None:
            known = [known.qualified for known in asked.listing.tools.values()]
            raise UsageError(f"there is no tool {name!r}{nearest(name, known)}")
        chosen.append(tool)
    return chosen


# --- shown ----------------------------------------------------------------------------------------


def _row(config: ServerConfig, *, usable: bool) -> dict[str, Any]:
    try:
        approved = len(pin_book().tools(config.identity))
    except SashizuError:
        approved = 0
    return {
        "name": config.name,
        "from": clean_line(config.origin, 500),
        "does": clean_line(config.entry.wants(), 500),
        "usable": usable,
        "trusted": config.trusted,
        "approved": approved,
    }


def _told(asked: Asked) -> dict[str, Any]:
    return {
        "name": asked.config.name,
        "protocol": clean_line(asked.protocol, 40),
        "took_s": round(asked.took_s, 3),
        "tools": [
            {
                "name": tool.qualified,
                "state": asked.states[tool.name],
                "sha256": tool.sha256,
                "says_it_only_reads": tool.read_only,
                "description": tool.schema.description,
            }
            for tool in asked.listing.tools.values()
        ],
        "left_out": dict(asked.listing.left_out),
    }


def _show(asked: Asked, tools: Iterable[ServedTool] | None = None) -> None:
    protocol = clean_line(asked.protocol, 40)
    typer.echo(f"{asked.config.name}: protocol {protocol}, in {asked.took_s:.2f} s")
    for tool in tools if tools is not None else asked.listing.tools.values():
        reads = ", says it only reads" if tool.read_only else ""
        typer.echo(f"{tool.qualified}  ({asked.states[tool.name]}{reads})")
        typer.echo(f"  sha256  {tool.sha256}")
        typer.echo(f"  {clean_line(tool.schema.description, 2_200)}")
    for name, reason in asked.listing.left_out.items():
        typer.echo(f"left out: {name}: {reason}", err=True)

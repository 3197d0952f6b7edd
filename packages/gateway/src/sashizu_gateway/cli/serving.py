"""The command `gateway`: serves until it is told to end."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import typer
from sashizu_core.errors import UsageError
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.opened_run import guarded
from sashizu_core.types import Limits

from sashizu_gateway.cli.options import (
    AgentBudget,
    AnthropicUrl,
    BudgetFlags,
    Deadline,
    NoAudit,
    OpenAIUrl,
    asked_for,
    limits_of,
    summary,
    table_of,
    window_lines,
)
from sashizu_gateway.clients import Client
from sashizu_gateway.serving import address_of
from sashizu_gateway.session import Session, open_session
from sashizu_gateway.settings import GatewaySettings

__all__ = ["app"]

app = typer.Typer(
    help="Serve models to other programs, under a budget.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def gateway(
    ctx: typer.Context,
    budget: BudgetFlags = None,
    clients: Annotated[
        list[str] | None,
        typer.Option("--client", metavar="NAME", help="Who gets a token; repeatable."),
    ] = None,
    agent_budget: AgentBudget = None,
    listen: Annotated[
        str,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Where on this machine; port 0 takes any."
        ),
    ] = "",
    openai_url: OpenAIUrl = "",
    anthropic_url: AnthropicUrl = "",
    token_file: Annotated[
        str,
        typer.Option(
            "--token-file", metavar="FILE", help="Write address and tokens there, mode 0600."
        ),
    ] = "",
    deadline: Deadline = "",
    no_audit: NoAudit = False,
) -> None:
    """Serve the APIs of OpenAI and Anthropic on this machine, under a budget.

    Every call is bounded before it is forwarded, and recorded. Each client has a token and a node
    of the budget; so has each of its agents, as far as they can be told apart. The keys of the
    services stay here.
    """
    asked, limits = asked_for(ctx, budget, deadline, audit=not no_audit)
    names = list(dict.fromkeys(clients or [*limits] or ["client"]))
    if wrong := [name for name in names if not name.strip() or not name.isprintable()]:
        raise UsageError(f"{wrong[0]!r} cannot be the name of a client: write --client NAME")
    if unknown := [name for name in limits if name not in names]:
        raise UsageError(f"--budget names {unknown[0]!r}, which is no --client")
    table = table_of(asked, openai_url, anthropic_url)
    wanted = Wanted(names, limits, limits_of(agent_budget), listen or table.listen, token_file)
    anyio.run(guarded, asked, partial(_serve, wanted, table))


class Wanted:
    """What the command line says of the clients."""

    def __init__(
        self,
        names: Sequence[str],
        limits: Mapping[str, Limits],
        per_agent: Limits,
        listen: str,
        token_file: str,
    ) -> None:
        self.names = names
        self.limits = limits
        self.per_agent = per_agent
        self.address = address_of(listen)
        self.token_file = token_file


async def _serve(wanted: Wanted, table: GatewaySettings, asked: Asked, redactor: Redactor) -> None:
    about = {"gateway": True, "clients": list(wanted.names)}
    async with open_session(asked, redactor, wanted.address, table=table, about=about) as session:
        for name in wanted.names:
            session.client(name, wanted.limits.get(name), wanted.per_agent)
        _announce(session, wanted.token_file)
        await _until_told()
        session.status.text = "ok"
    _told([f"sashizu: {line}" for line in summary(session.clients, session.budget)])


async def _until_told() -> None:
    """Wait for Ctrl-C, SIGTERM, or a closed terminal."""
    names = [number for name in ("SIGINT", "SIGTERM", "SIGHUP") if (number := _signal(name))]
    try:
        with anyio.open_signal_receiver(*names) as signals:
            async for _ in signals:
                return
    except NotImplementedError:  # the event loop of Windows: Ctrl-C raises
        await anyio.sleep_forever()


def _signal(name: str) -> signal.Signals | None:
    return getattr(signal, name, None)


def _announce(session: Session, token_file: str) -> None:
    """Tell where the gateway is, and the tokens once, to who started it."""
    url = session.address.url
    lines = [f"sashizu: listening on {url}/v1 (run {session.parts.run_id})"]
    if token_file:
        _write_tokens(Path(token_file), url, session.clients)
        lines.append(f"sashizu: the tokens are in {token_file}")
    else:
        lines += [f"sashizu: token of {client.name}: {client.secret}" for client in session.clients]
    _told([*lines, *(f"sashizu: {line}" for line in window_lines(session.parts))])


def _write_tokens(file: Path, url: str, clients: Sequence[Client]) -> None:
    """Address and tokens as JSON, in a file that only its owner may read.

    Raises:
        UsageError: it cannot be written.
    """
    told = {"base_url": f"{url}/v1", "tokens": {client.name: client.secret for client in clients}}
    try:
        file.unlink(missing_ok=True)
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write the tokens to {file}: {error.strerror}") from error
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(told) + "\n")


def _told(lines: Sequence[str]) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))
    sys.stderr.flush()

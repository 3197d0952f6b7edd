"""The command `exec-with-budget`: a program, and a gateway for as long as it runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated

import anyio
import typer
from anyio.abc import Process
from sashizu_core.errors import UsageError
from sashizu_core.limits import parse_limits
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
from sashizu_gateway.cli.sharing import shared
from sashizu_gateway.pointing import Pointed, pointed
from sashizu_gateway.serving import Address
from sashizu_gateway.session import open_session
from sashizu_gateway.settings import GatewaySettings, targets

__all__ = ["app"]

FAREWELL_S = 5.0
"""Seconds that a program gets to end when it is told to."""

NOT_FOUND = 127
CANCELLED = 130
TIMEOUT = 124

app = typer.Typer(
    help="Start a program whose model calls are bounded and recorded.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def exec_with_budget(
    ctx: typer.Context,
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND [WORD]...", help="The program to start.")
    ],
    budget: BudgetFlags = None,
    agent_budget: AgentBudget = None,
    openai_url: OpenAIUrl = "",
    anthropic_url: AnthropicUrl = "",
    deadline: Deadline = "",
    share: Annotated[
        list[str] | None,
        typer.Option(
            "--share",
            metavar="LIMIT",
            help="What of it sashizu may use where the program calls it; repeatable.",
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Do not tell at the end what was used.")
    ] = False,
    no_audit: NoAudit = False,
) -> None:
    """Start a program, such as `codex exec`, whose model calls are bounded and recorded.

    It is told to send them to a gateway that runs as long as it does, and gets no key of a service.
    Codex and Claude Code are known; any other program is told by the variables OPENAI_BASE_URL and
    ANTHROPIC_BASE_URL. Ends with the program's own exit code.
    """
    asked, clients = asked_for(ctx, budget, deadline, audit=not no_audit)
    if clients:
        raise UsageError("there is one client, the program: write --budget LIMIT")
    table = table_of(asked, openai_url, anthropic_url)
    lent = parse_limits(share) if share else None
    run = partial(_run, table, limits_of(agent_budget), command, lent, quiet=quiet)
    raise typer.Exit(anyio.run(guarded, asked, run))


async def _run(
    table: GatewaySettings,
    per_agent: Limits,
    command: Sequence[str],
    share: Limits | None,
    asked: Asked,
    redactor: Redactor,
    *,
    quiet: bool,
) -> int:
    about = {"gateway": True, "command": redactor.text(command[0])}
    address = Address("127.0.0.1", 0)
    code = CANCELLED
    async with open_session(asked, redactor, address, table=table, about=about) as session:
        name = os.path.basename(command[0])[:64] or "command"  # noqa: PTH119 - a name, no place
        client = session.client(name, per_agent=per_agent)
        hidden = [name for each in targets(table).values() for name in each.table.variables]
        start = pointed(command, session.address.url, client.secret, os.environ, hidden)
        if not quiet:
            _told(window_lines(session.parts))
        with shared(session, client, share, asked) as lent:
            start = replace(start, environment={**start.environment, **lent})
            code = await _held(start)
        session.status.text = "ok" if code == 0 else "error"
    if session.scope.cancelled_caught:
        code = TIMEOUT if session.handle.expired else CANCELLED
    if not quiet:
        _told(summary(session.clients, session.budget))
    return code


def _told(lines: Sequence[str]) -> None:
    sys.stderr.write("".join(f"sashizu: {line}\n" for line in lines))


async def _held(start: Pointed) -> int:
    """Run the program to its end; returns its exit code, as a shell would show it."""
    try:
        process = await anyio.open_process(
            start.argv, stdin=None, stdout=None, stderr=None, env=start.environment
        )
    except OSError as error:
        told = f"sashizu: error: {start.argv[0]!r} cannot be started: {error.strerror}\n"
        sys.stderr.write(told)
        return NOT_FOUND
    async with anyio.create_task_group() as group:
        group.start_soon(_pass_signals, process)
        try:
            status = await process.wait()
        except anyio.get_cancelled_exc_class():
            await _end(process)
            raise
        group.cancel_scope.cancel()
    return 128 - status if status < 0 else status


async def _pass_signals(process: Process) -> None:
    """What a person or the system says is for the program to answer."""
    names = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT")]
    with anyio.open_signal_receiver(*names) as signals:
        async for number in signals:
            # Ctrl-C reaches the program by itself: both belong to the terminal's foreground.
            if number in (signal.SIGTERM, signal.SIGHUP):
                process.send_signal(number)


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        process.terminate()
        with anyio.move_on_after(FAREWELL_S):
            await process.wait()
            return
        process.kill()
        await process.wait()

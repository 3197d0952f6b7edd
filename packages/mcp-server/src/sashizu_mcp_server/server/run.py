"""Runs a server process from its first frame to its end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
from sashizu_core.errors import SashizuError
from sashizu_core.limits import parse_duration
from sashizu_core.settings import Settings, load_settings

from sashizu_mcp_server.server.leased import settings_in
from sashizu_mcp_server.server.render import SERVER_INFO, keep, rendered
from sashizu_mcp_server.server.service import Service, open_service
from sashizu_mcp_server.server.stdio import Connection
from sashizu_mcp_server.startup.answers import FirstAnswers
from sashizu_mcp_server.startup.front import IDLE_S, Opening
from sashizu_mcp_server.startup.lines import Lines
from sashizu_mcp_server.startup.options import Options
from sashizu_mcp_server.startup.prepared import Prepared, read_prepared

__all__ = ["prepare", "run_server", "until_signal"]

logger = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often the parent is looked for, in seconds."""


def run_server(options: Options, opening: Opening) -> int:
    """Serve until the client, the parent or a signal ends it; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="sashizu: %(levelname)s: %(message)s")
    try:
        anyio.run(_main, options, opening)
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        found = _told(error)
        if found is None:
            raise
        sys.stderr.write(f"sashizu: error: {found}\n")
        return found.exit_code
    return 0


def prepare(options: Options) -> None:
    """Make the first answers, keep them for the next start, and serve nobody.

    Raises:
        SashizuError: settings, policy or plugins are wrong.
    """

    async def made() -> None:
        async with open_service(options, only_offers=True) as service:
            await _prepared_now(service, options)

    anyio.run(made)


def _told(error: BaseException) -> SashizuError | None:
    """What was raised for people, if it was that."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, SashizuError) else None


async def _main(options: Options, opening: Opening) -> None:
    parent = os.getppid()
    idle_s = parse_duration(options.idle) if options.idle else IDLE_S
    async with anyio.create_task_group() as group:
        group.start_soon(until_signal, group.cancel_scope)
        settings = None
        if options.leased:
            settings = await anyio.to_thread.run_sync(
                _handed_settings, options, opening, abandon_on_cancel=True
            )
        async with open_service(options, settings=settings) as service:
            if options.http:
                from sashizu_mcp_server.server.http import serve_http

                await serve_http(service, options, idle_s)
            else:
                await _stdio(service, options, opening, parent, idle_s)
        group.cancel_scope.cancel()


def _handed_settings(options: Options, opening: Opening) -> Settings | None:
    """The settings of the process that started this one, if it says them first. Blocks."""
    if (prepared := read_prepared(options)) is not None:
        opening.first = FirstAnswers(prepared)
    lines = Lines(0)
    line = lines.next(IDLE_S)
    opening.rest = lines.rest
    tables = settings_in(line) if line is not None else None
    if tables is None:
        opening.frames = [line] if line is not None else []
        return None
    return replace(load_settings(Path.cwd()), tables=tables, origins={})


async def _stdio(
    service: Service, options: Options, opening: Opening, parent: int, idle_s: float
) -> None:
    renew = False
    if opening.first is None and not options.late:
        opening.first = FirstAnswers(await _prepared_now(service, options))
    elif opening.first is not None:
        renew = opening.first.prepared.fingerprint != fingerprint(service)
    connection = Connection(service, opening, server_info=SERVER_INFO)
    async with anyio.create_task_group() as group:
        group.start_soon(_until_lonely, connection, service, parent, idle_s, group.cancel_scope)
        if renew:
            group.start_soon(_renewed, connection, service, options)
        await connection.serve()
        group.cancel_scope.cancel()


def fingerprint(service: Service) -> str:
    """What tells tools of one start from those of another."""
    from hashlib import sha256

    from pydantic_core import to_json

    return sha256(to_json(service.definitions)).hexdigest()


async def _prepared_now(service: Service, options: Options) -> Prepared:
    """Make the first answers, and keep them for the next start."""
    prepared = rendered(service.definitions)
    prepared.fingerprint = fingerprint(service)
    await anyio.to_thread.run_sync(keep, options, service, prepared)
    return prepared


async def _renewed(connection: Connection, service: Service, options: Options) -> None:
    """What was answered is outdated: tell the client, and prepare better answers."""
    await connection.renewed(await _prepared_now(service, options))


async def _until_lonely(
    connection: Connection, service: Service, parent: int, idle_s: float, scope: anyio.CancelScope
) -> None:
    """End the server when its parent has gone, or its client has had nothing to say for long."""
    while True:
        await anyio.sleep(LOOK_S)
        quiet = anyio.current_time() - connection.quiet_since
        at_work = connection.busy or service.runs.alive
        if os.getppid() != parent or (quiet > idle_s and not at_work):
            scope.cancel()


async def until_signal(scope: anyio.CancelScope) -> None:
    """End what runs in a scope when the process is told to end."""
    if sys.platform == "win32":
        await anyio.sleep_forever()
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for _ in signals:
            scope.cancel()
            return

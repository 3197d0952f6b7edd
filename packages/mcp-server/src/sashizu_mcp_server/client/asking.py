"""Asks one server outside of a run: held like that of an agent which may read the workspace."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic

import anyio.to_thread
from sashizu_core.grants import Grants, Subject
from sashizu_core.plugins import open_registry
from sashizu_core.protocols import ServerStart, ToolsWanted
from sashizu_core.runtime.confining import confinement_of
from sashizu_core.runtime.held import open_sandbox
from sashizu_core.sandboxing import Confinement, Sandbox
from sashizu_core.server_starts import authorize_start
from sashizu_core.settings import Settings
from sashizu_core.types import Decision
from sashizu_core.workspace import Workspace

from sashizu_mcp_server.client.configured import ConfiguredServers, ServerConfig
from sashizu_mcp_server.client.listing import Listing
from sashizu_mcp_server.client.oauth import Login
from sashizu_mcp_server.client.pace import Pace
from sashizu_mcp_server.client.pins import PinBook, PinState, pin_book
from sashizu_mcp_server.client.source import open_server_tools

__all__ = ["Asked", "ask"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a server told of itself, how its tools compare with what was approved, and in what time.

    `took_s` is from its start to its last word, in seconds.
    """

    config: ServerConfig
    listing: Listing
    states: Mapping[str, PinState]
    protocol: str
    took_s: float


async def ask(
    settings: Settings, config: ServerConfig, workspace: Path, *, login: Login | None = None
) -> Asked:
    """Start or reach a server, hear of its tools, and end it.

    Raises:
        ServerFault: it cannot be asked.
        SashizuError: nothing can hold it, or what was approved cannot be read.
    """
    book = pin_book()
    async with _held(settings, config, workspace) as (opened, sandbox, confinement):
        servers = partial(ConfiguredServers, settings)
        once = Pace(tries=1)
        async with open_server_tools(servers, workspace, pace=once, login=login) as source:
            own = Grants(tools=frozenset({f"{config.name}/*"}), fs_read=(".",))
            subject = Subject("asking", "you", (*settings.policy.ceilings(own), own))

            async def asked_by_you(start: ServerStart) -> Decision:
                decision = authorize_start(start, subject)
                return replace(decision, verdict="allow") if decision.verdict == "ask" else decision

            wanted = ToolsWanted(
                subject,
                (f"{config.name}/*",),
                opened,
                sandbox=sandbox,
                confinement=confinement,
                starting=asked_by_you,
            )
            await source.require_start(config, wanted)
            session = source.session(config, wanted)
            started = monotonic()
            listing = await session.connection.listing()
            took_s = monotonic() - started
            states = _states(book, config, listing)
            return Asked(config, listing, states, session.connection.protocol, took_s)


def _states(book: PinBook, config: ServerConfig, listing: Listing) -> dict[str, PinState]:
    told = {name: tool.sha256 for name, tool in listing.tools.items()}
    return book.see(config.identity, config.name, told)


def _open(workspace: Path) -> Workspace:
    return Workspace.open(Path(os.path.abspath(workspace)))  # noqa: PTH100 - links stay links


@asynccontextmanager
async def _held(
    settings: Settings, config: ServerConfig, workspace: Path
) -> AsyncIterator[tuple[Workspace, Sandbox | None, Confinement | None]]:
    async with AsyncExitStack() as stack:
        opened = stack.enter_context(_open(workspace))
        if config.entry.url is not None:
            yield opened, None, None
            return
        registry = open_registry(settings)
        sandbox = await open_sandbox(settings.run.sandbox, registry.sandboxes, stack)
        subject = Subject("asking", "you", (Grants(tools=None, fs_read=(".",)),))
        confinement = await anyio.to_thread.run_sync(confinement_of, opened, subject)
        yield opened, sandbox, confinement

"""The servers of one run: asked when an agent lists their tools, shared by who may the same."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from sashizu_core.errors import RecordError, SashizuError
from sashizu_core.permissions import effective
from sashizu_core.protocols import Tool, ToolsServed, ToolsWanted
from sashizu_core.sandboxing import Confinement

from sashizu_mcp_server.client.configured import ConfiguredServers, ServerConfig
from sashizu_mcp_server.client.faults import NotStarted
from sashizu_mcp_server.client.pace import Pace
from sashizu_mcp_server.client.pins import PinBook, pin_book
from sashizu_mcp_server.client.session import ServerSession
from sashizu_mcp_server.client.starting import argv_of, held

if TYPE_CHECKING:
    from sashizu_mcp_server.client.life import Life
    from sashizu_mcp_server.client.listing import Listing, ServedTool
    from sashizu_mcp_server.client.oauth import Login
    from sashizu_mcp_server.client.stdio import Streams

__all__ = ["ServerTools", "open_server_tools"]

ENDING_S = 5.0
"""How long servers may take to end before they are ended, in seconds."""


@asynccontextmanager
async def open_server_tools(
    servers: Callable[[], ConfiguredServers],
    workspace: Path,
    *,
    pace: Pace | None = None,
    login: Login | None = None,
) -> AsyncIterator[ServerTools]:
    """The servers of one run; on leaving, all of them have ended.

    `servers` is asked once an agent lists a tool of one.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        source = ServerTools(servers, workspace, group, pin_book(), pace=pace, login=login)
        try:
            yield source
        except Exception as error:  # noqa: BLE001 - raised below, by itself instead of in a group
            failure = error
        finally:
            source.close()
            if not await source.ended():
                group.cancel_scope.cancel()
    if failure is not None:
        raise failure


class ServerTools:
    """A `ToolSource`. A session is shared by all agents whose programs may touch the same."""

    def __init__(
        self,
        servers: Callable[[], ConfiguredServers],
        workspace: Path,
        group: TaskGroup,
        book: PinBook,
        *,
        pace: Pace | None = None,
        login: Login | None = None,
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self._configured = servers
        self._workspace = workspace
        self._group = group
        self._book = book
        self._pace = pace
        self._login = login
        self._env = env
        self._sessions: dict[Hashable, ServerSession] = {}

    @cached_property
    def _servers(self) -> ConfiguredServers:
        return self._configured()

    async def tools(self, wanted: ToolsWanted) -> ToolsServed:
        # Importing the protocol's library takes as long as a run may take that needs none of it.
        await anyio.to_thread.run_sync(import_module, "sashizu_mcp_server.client.tool")
        await anyio.to_thread.run_sync(import_module, "sashizu_mcp_server.client.connection")
        by_server: dict[str, list[str]] = {}
        for name in wanted.listed:
            by_server.setdefault(name.partition("/")[0], []).append(name)
        answers: dict[str, ToolsServed] = {}
        unrecorded: list[RecordError] = []

        async def ask(server: str, names: list[str]) -> None:
            try:
                answers[server] = await self._of_server(server, names, wanted)
            except RecordError as error:
                unrecorded.append(error)

        async with anyio.create_task_group() as group:
            for server, names in by_server.items():
                group.start_soon(ask, server, names)
        if unrecorded:
            raise unrecorded[0]
        served: dict[str, Tool] = {}
        absent: dict[str, str] = {}
        fingerprints: dict[str, str] = {}
        for server in by_server:
            served |= answers[server].tools
            absent |= answers[server].absent
            fingerprints |= answers[server].fingerprints
        return ToolsServed(served, absent, fingerprints)

    async def _of_server(self, server: str, names: list[str], wanted: ToolsWanted) -> ToolsServed:
        """The listed tools of one server; what goes wrong with it is told of each of them."""
        try:
            config = self._servers.find(server, wanted.servers, wanted.source, self._workspace)
            if config is None:
                raise NotStarted(server, "is described nowhere (`sashizu mcp list` shows those)")
            await self.require_start(config, wanted)
            session = self.session(config, wanted)
            listing = await session.connection.listing()
            return await self._served(session, listing, names, wanted)
        except RecordError:
            raise
        except SashizuError as error:
            return ToolsServed({}, dict.fromkeys(names, str(error)))

    async def _served(
        self, session: ServerSession, listing: Listing, names: list[str], wanted: ToolsWanted
    ) -> ToolsServed:
        from sashizu_mcp_server.client.tool import McpTool

        all_of_it = any(name.endswith("/*") for name in names)
        asked = [*listing.tools, *listing.left_out] if all_of_it else []
        asked += [name.partition("/")[2] for name in names if not name.endswith("/*")]
        found = [listing.tools[name] for name in dict.fromkeys(asked) if name in listing.tools]
        await self._look(session, found, wanted)
        absent = {
            f"{session.config.name}/{name}": listing.left_out.get(
                name, "the server has no such tool"
            )
            for name in asked
            if name not in listing.tools
        }
        tools = {tool.qualified: McpTool(tool, session, self._book) for tool in found}
        return ToolsServed(tools, absent, {tool.qualified: tool.sha256 for tool in found})

    async def _look(
        self, session: ServerSession, tools: Sequence[ServedTool], wanted: ToolsWanted
    ) -> None:
        """Compare tools with what was approved; those of a trusted server are approved at once."""
        config = session.config
        digests = {tool.name: tool.sha256 for tool in tools}
        states = await anyio.to_thread.run_sync(
            self._book.see, config.identity, config.name, digests
        )
        new = {name: digests[name] for name, state in states.items() if state == "new"}
        if new and config.trusted:
            await anyio.to_thread.run_sync(self._book.pin, config.identity, config.name, new)
        for tool in tools:
            if states[tool.name] == "changed":
                await session.tell_changed(tool.name, tool.sha256, wanted.suspicious)

    async def require_start(self, config: ServerConfig, wanted: ToolsWanted) -> None:
        """Have it decided for an agent whether a server may be started or reached.

        Each agent's own permission counts, also where another one has started the server already.

        Raises:
            NotStarted: it may not.
            RecordError: the record cannot be written.
        """
        from sashizu_mcp_server.client.judging import require_start

        await require_start(config, wanted, self._env)

    # --- sessions ---------------------------------------------------------------------------------

    def session(self, config: ServerConfig, wanted: ToolsWanted) -> ServerSession:
        """The session that an agent shares with those who may touch the same."""
        from sashizu_mcp_server.client.connection import Connection

        confinement = wanted.confinement
        key: Hashable = (config.identity, "network")
        if config.entry.url is None:
            shown = None if confinement is None else _shown(confinement)
            key = (config.identity, shown, effective(wanted.subject.chain).net)
        if (session := self._sessions.get(key)) is None:
            session = self._sessions[key] = ServerSession(config, wanted.suspicious)
            opener = _Opener(session, wanted, self._env, self._login)
            session.connection = Connection(config, opener.open, self._group, self._pace)
        return session

    def close(self) -> None:
        """Ask all servers to end."""
        for session in self._sessions.values():
            session.connection.close()

    async def ended(self) -> bool:
        """Wait until all have ended; False if some take too long."""
        with anyio.move_on_after(ENDING_S) as scope:
            for session in self._sessions.values():
                await session.connection.ended()
        return not scope.cancelled_caught


def _shown(confinement: Confinement) -> Hashable:
    """What a confinement lets its programs touch."""
    return (
        confinement.cwd,
        frozenset(confinement.readable),
        frozenset(confinement.writable),
        frozenset(confinement.protected),
        frozenset(confinement.hidden),
    )


class _Opener:
    """Makes the streams of one life of a server."""

    def __init__(
        self,
        session: ServerSession,
        wanted: ToolsWanted,
        env: Mapping[str, str],
        login: Login | None,
    ) -> None:
        self._session = session
        self._wanted = wanted
        self._env = env
        self._login = login

    def open(self, life: Life) -> AbstractAsyncContextManager[Streams]:
        """Start or reach it.

        Raises:
            NotStarted: it cannot be.
        """
        config = self._session.config
        if config.entry.url is not None:
            from sashizu_mcp_server.client.http import http_streams
            from sashizu_mcp_server.client.judging import dialled, server_url
            from sashizu_mcp_server.client.oauth import authorization

            auth = authorization(config, self._env, self._login)
            url = server_url(config, self._env)
            return http_streams(config, url, self._env, auth, dialled(config, url, self._wanted))
        return self._started(life)

    @asynccontextmanager
    async def _started(self, life: Life) -> AsyncIterator[Streams]:
        from sashizu_mcp_server.client.stdio import stdio_streams

        config, wanted = self._session.config, self._wanted
        if wanted.sandbox is None or wanted.confinement is None:
            raise NotStarted(config.name, "is not started: nothing would hold it")
        root = wanted.workspace.root
        argv = argv_of(config, root, self._env)
        confinement = await anyio.to_thread.run_sync(
            held, config, wanted.confinement, Path(argv[0]), root, self._env
        )
        if effective(wanted.subject.chain).net:
            confinement = replace(confinement, judge=self._session.judge)
        async with stdio_streams(life, wanted.sandbox, argv, confinement) as streams:
            yield streams

"""A server as the agents share it that may touch the same: its connection, and who is calling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sashizu_core.grants import NetRequest, PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import Decision

from sashizu_mcp_server.client.configured import ServerConfig

if TYPE_CHECKING:
    from sashizu_mcp_server.client.connection import Connection

__all__ = ["ServerSession"]

Judge = Callable[[PermissionRequest], Awaitable[Decision]]


class ServerSession:
    """A connection and the calls that are under way on it. `connection` is set by who opens it."""

    connection: Connection

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._judges: list[Judge] = []

    @contextmanager
    def calling(self, context: ToolContext) -> Iterator[None]:
        """While a call is under way, what the server connects to is judged with it."""
        judge = context.judge
        if judge is None:
            yield
            return
        self._judges.append(judge)
        try:
            yield
        finally:
            self._judges.remove(judge)

    async def judge(self, request: NetRequest) -> Decision:
        """Decide on a connection of the server: as part of the newest call, and of nothing else."""
        if self._judges:
            return await self._judges[-1](request)
        return Decision(
            "deny", f"the server {self.config.name!r} may connect only while it is called"
        )

"""A server as the agents share it that may touch the same: its connection, and who is calling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sashizu_core.grants import NetRequest, PermissionRequest
from sashizu_core.protocols import ToolContext
from sashizu_core.types import Decision

from sashizu_mcp_server.client.configured import ServerConfig

if TYPE_CHECKING:
    from sashizu_mcp_server.client.connection import Connection

__all__ = ["ServerSession"]

Suspicious = Callable[[Mapping[str, Any]], Awaitable[None]]

Judge = Callable[[PermissionRequest], Awaitable[Decision]]


class ServerSession:
    """A connection and the calls that are under way on it. `connection` is set by who opens it."""

    connection: Connection

    def __init__(self, config: ServerConfig, suspicious: Suspicious | None = None) -> None:
        self.config = config
        self._suspicious = suspicious
        self._judges: list[Judge] = []
        self._told: set[tuple[str, str]] = set()

    async def tell_changed(
        self, tool: str, digest: str, suspicious: Suspicious | None = None
    ) -> None:
        """Record once that a tool describes itself otherwise than it did.

        Raises:
            RecordError: the record cannot be written.
        """
        record = suspicious or self._suspicious
        if record is None or (tool, digest) in self._told:
            return
        self._told.add((tool, digest))
        name = self.config.name
        await record(
            {
                "tool": f"{name}/{tool}",
                "tool_type": "mcp",
                "mcp_server": name,
                "mcp_method": "tools/list",
                "severity": "warning",
                "category": "tool_changed",
                "sha256": digest,
                "attrs": {
                    "reason": "the server describes the tool otherwise than it did; "
                    "it needs approval again"
                },
            }
        )

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

"""Has somebody asked before a tool of a server is called that nobody approved as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sashizu_core.grants import McpRequest, PermissionRequest, Subject
from sashizu_core.types import Decision

from sashizu_mcp_server.client.pins import PinBook, pin_book

__all__ = ["ApprovedTools", "open_policy"]


class ApprovedTools:
    """Asks for tools of servers that are new, or describe themselves otherwise than before."""

    def __init__(self, book: PinBook) -> None:
        self._book = book

    def check(self, request: PermissionRequest, subject: Subject) -> Decision | None:
        if not isinstance(request, McpRequest):
            return None
        state = self._book.state(request.server, request.tool, request.schema_sha256)
        if state == "approved":
            return None
        name = f"{request.server}/{request.tool}"
        why = (
            f"nobody has approved the tool {name!r} yet"
            if state == "new"
            else f"the tool {name!r} describes itself otherwise than when it was approved"
        )
        return Decision(
            "ask",
            f"{subject.agent_name} asks to call it: {why} (`sashizu mcp test {request.server}` "
            "shows it, `sashizu mcp approve` approves it)",
            f"mcp: {state}",
            "policy",
        )


@asynccontextmanager
async def open_policy() -> AsyncIterator[ApprovedTools]:
    """The policy of this user's state folder."""
    yield ApprovedTools(pin_book())

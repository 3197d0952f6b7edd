"""How a session with a server begins: in which version of the protocol, and with which tools."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mcp import ClientSession, MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolResult,
    Implementation,
    PaginatedRequestParams,
)
from pydantic import ValidationError

from sashizu_mcp_server.client.faults import BadReply
from sashizu_mcp_server.client.listing import Listing, read_listing
from sashizu_mcp_server.client.settings import Protocol

__all__ = ["CLIENT", "Session", "greet", "listed"]

# What servers say is hostile, and the library's warnings quote it: nothing of it is printed.
for _name in ("client", "mcp"):
    logging.getLogger(_name).addHandler(logging.NullHandler())

MOST_PAGES = 50
"""Pages of one listing."""


class Session(ClientSession):
    """A session that holds no answer against schemas of the server.

    An expression in one could take for ever.
    """

    async def validate_tool_result(
        self,
        name: str,  # noqa: ARG002 - as the library has it
        result: CallToolResult,  # noqa: ARG002
    ) -> None:
        return


CLIENT = Implementation(name="sashizu", version=version("sashizu-mcp-server"))


async def greet(session: ClientSession, protocol: Protocol) -> None:
    """Begin a session in the way of the older revisions, of the newer, or of what is understood.

    Raises:
        MCPError: there is no way that both know.
    """
    if protocol != "handshake" and await _discovered(session, protocol):
        return
    try:
        await session.initialize()
    except MCPError as error:
        if protocol == "handshake" or error.code != UNSUPPORTED_PROTOCOL_VERSION:
            raise
        await session.discover()  # it was slow to answer the first time, and is a newer one


async def _discovered(session: ClientSession, protocol: Protocol) -> bool:
    """Whether a server knows the newer way; an error where it has to."""
    try:
        await session.discover()
    except MCPError as error:
        if protocol == "modern" or error.code == CONNECTION_CLOSED:
            raise
        return False
    except (ValidationError, RuntimeError):
        if protocol == "modern":
            raise
        return False
    return True


async def listed(server: str, session: ClientSession) -> Listing:
    """Everything that a server tells of its tools, page by page.

    Raises:
        BadReply: the pages do not end.
    """
    told: list[Mapping[str, Any]] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        told += [tool.model_dump(by_alias=True, exclude_none=True) for tool in page.tools]
        cursor = page.next_cursor
        if cursor is None:
            return read_listing(server, told)
    raise BadReply(server, f"tells of its tools on more than {MOST_PAGES} pages")

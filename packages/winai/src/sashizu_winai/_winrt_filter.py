"""The experimental filter of MCP messages, implemented for Windows.

Unverified on Windows, like `_winrt`; and Microsoft has not said yet how a filter is made known to
Windows, beside being a class of COM.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import SupportsIndex
from uuid import UUID

import anyio.from_thread
from anyio.lowlevel import EventLoopToken, current_token
from winrt.windows.ai.agents.mcp import (
    IMcpMessageFilterExperimental2,
    IMcpMessageFilterResponseExperimental,
    IMcpMessageFilterResponseExperimental2,
    McpMessageDirection,
    McpMessageFilterResponse,
)

from sashizu_winai._winrt_classes import registered
from sashizu_winai.apartment import Apartment
from sashizu_winai.capabilities import Capability, Probe
from sashizu_winai.filtering.verdicts import (
    Direction,
    FilteredConnection,
    MessageFilter,
    Parties,
    Verdict,
)

__all__ = ["filter_open", "probe_filter"]

_OPERATION = "filter MCP messages"
_DIRECTIONS: dict[int, Direction] = {
    McpMessageDirection.CLIENT_TO_SERVER: "client_to_server",
    McpMessageDirection.SERVER_TO_CLIENT: "server_to_client",
}


def probe_filter() -> Probe:
    """What can be told without a connection: the interfaces are there, and nobody asks for them."""
    reason = "a filter can be offered; how Windows finds it is not documented"
    return Probe(Capability.MCP_FILTER, "not_ready", reason, "bring Windows up to date")


@asynccontextmanager
async def filter_open(
    apartment: Apartment, judge: MessageFilter, clsid: UUID
) -> AsyncIterator[None]:
    """Judge what Windows asks of the class, while this is open."""
    token = current_token()
    async with registered(apartment, _OPERATION, clsid, lambda: _Filter(judge, token)):
        yield


class _Filter(IMcpMessageFilterExperimental2):
    """One connection, as Windows makes a filter for it. In doubt a message does not pass."""

    def __init__(self, judge: MessageFilter, token: EventLoopToken) -> None:
        self._judge = judge
        self._token = token
        self._connection: FilteredConnection | None = None

    def initialize(
        self,
        client_process_identifier: str,
        client_process_id: int | SupportsIndex,
        server_process_identifier: str,
        server_process_id: int | SupportsIndex,
        server_id: str,
        /,
    ) -> bool:
        parties = Parties(
            client_process_identifier,
            int(client_process_id),
            server_process_identifier,
            int(server_process_id),
            server_id,
        )
        try:
            self._connection = anyio.from_thread.run(
                self._judge.connection, parties, token=self._token
            )
        except Exception:  # noqa: BLE001 - whoever cannot be judged is not let through
            return False
        return self._connection is not None

    def on_message(
        self,
        message: str,
        direction: McpMessageDirection,
        filter_response: McpMessageFilterResponse,
        /,
    ) -> None:
        _tell(filter_response, self._verdict(message, direction))

    def _verdict(self, message: str, direction: McpMessageDirection) -> Verdict:
        known = _DIRECTIONS.get(direction)
        if self._connection is None or known is None:
            return Verdict(allowed=False, reason="the connection is not one that may be used")
        try:
            return anyio.from_thread.run(self._connection.judge, message, known, token=self._token)
        except Exception:  # noqa: BLE001 - what cannot be judged does not pass
            return Verdict(allowed=False, reason="the message could not be judged")


def _tell(response: McpMessageFilterResponse, verdict: Verdict) -> None:
    try:
        answer = response.as_(IMcpMessageFilterResponseExperimental2)
    except (OSError, TypeError):  # an older build
        older = response.as_(IMcpMessageFilterResponseExperimental)
        older.is_allowed = verdict.allowed
        if not verdict.allowed:
            older.message_if_not_allowed = verdict.reason
        return
    if verdict.allowed:
        answer.allow()
    else:
        answer.reject(verdict.reason)

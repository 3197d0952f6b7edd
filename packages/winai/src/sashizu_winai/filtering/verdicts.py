"""What Windows asks a filter of messages, and what it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Direction", "FilteredConnection", "MessageFilter", "Parties", "Verdict"]

Direction = Literal["client_to_server", "server_to_client"]


@dataclass(frozen=True, slots=True)
class Parties:
    """Who talks to whom, as Windows tells it. Names are of other programs: untrusted."""

    client: str
    client_pid: int
    server: str
    server_pid: int
    server_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a message may pass; `reason` is what the sender is told where it may not."""

    allowed: bool
    reason: str = ""


class FilteredConnection(Protocol):
    """One connection, judged in our event loop, one message after the other."""

    async def judge(self, message: str, direction: Direction) -> Verdict:
        """Judge one JSON-RPC message. It passes only if this gives a verdict that says so."""
        ...


class MessageFilter(Protocol):
    """Judges the connections of a machine."""

    async def connection(self, parties: Parties) -> FilteredConnection | None:
        """A connection begins. None has nothing of it pass."""
        ...

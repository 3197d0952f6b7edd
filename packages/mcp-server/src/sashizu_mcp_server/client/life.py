"""One life of a server: from its start to its end, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCResponse

from sashizu_mcp_server.client.faults import BadReply, ServerFault, ServerGone

if TYPE_CHECKING:
    from mcp import ClientSession

    from sashizu_mcp_server.client.listing import Listing

__all__ = ["Life", "guard"]

MOST_UNASKED = 2_000
"""Requests and notifications that a server may send at once; answers are not counted."""

UNASKED_PER_S = 50.0
"""How many more it may send each second."""

_HEARD = frozenset(
    {
        "notifications/cancelled",
        "notifications/progress",
        "notifications/tools/list_changed",
    }
)
"""Notifications that anybody here listens to; the others end at the door."""


@dataclass(slots=True)
class Life:
    """One process, or one session over the network.

    `ready` is set when it has begun or will not; `stop` asks its owner to end it. `fault` says why
    it ended, `session` and `listing` are there once it has begun. `changed` says that it announced
    other tools.
    """

    server: str
    ready: anyio.Event = field(default_factory=anyio.Event)
    stop: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)
    session: ClientSession | None = None
    listing: Listing | None = None
    fault: ServerFault | None = None
    changed: bool = False

    @property
    def alive(self) -> bool:
        return self.session is not None and not self.stop.is_set() and not self.ended.is_set()

    def end(self, fault: ServerFault) -> None:
        """Ask its owner to end it; the first reason counts."""
        if self.fault is None:
            self.fault = fault
        self.stop.set()


async def guard(
    life: Life,
    source: ObjectReceiveStream[SessionMessage | Exception],
    target: ObjectSendStream[SessionMessage | Exception],
) -> None:
    """Hand on what a server says, as long as it is what a server may say; ends its life with it."""
    room, since = float(MOST_UNASKED), anyio.current_time()
    async with target:
        async for item in source:
            if isinstance(item, Exception):
                continue  # whoever read it has counted it
            message = item.message
            if not isinstance(message, JSONRPCResponse | JSONRPCError):
                now = anyio.current_time()
                room = min(MOST_UNASKED, room + (now - since) * UNASKED_PER_S) - 1
                since = now
                if room < 0:
                    life.end(BadReply(life.server, f"said more than {MOST_UNASKED} things unasked"))
                    return
                if isinstance(message, JSONRPCNotification):
                    if message.method not in _HEARD:
                        continue
                    if message.method == "notifications/tools/list_changed":
                        life.changed = True
            try:
                await target.send(item)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                return
        life.end(ServerGone(life.server, "hung up"))  # before anybody hears that it is over

"""Lends a connection of ours to the protocol's library, from the first frame that it has to see."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from sashizu_mcp_server.server.service import Service

__all__ = ["Bridge"]

logger = logging.getLogger(__name__)

Send = Callable[[bytes], Awaitable[None]]


class Bridge:
    """The library's low-level server over memory streams; our transport stays in between.

    What the client said in a handshake that we answered is said again, and the library's answer is
    compared with ours and not sent. `differs` is called if it is another.
    """

    def __init__(
        self, service: Service, group: TaskGroup, send: Send, differs: Callable[[], Awaitable[None]]
    ) -> None:
        self._service = service
        self._group = group
        self._send = send
        self._differs = differs
        self._inbox: MemoryObjectSendStream[Any] | None = None
        self._waking = anyio.Lock()
        self._replayed: tuple[Any, bytes] | None = None

    @property
    def awake(self) -> bool:
        """Whether the library serves this connection."""
        return self._inbox is not None

    async def feed(
        self, line: bytes, handshake: Mapping[str, Any] | None, ours: bytes, notes: Sequence[bytes]
    ) -> None:
        """Give the library a frame as it came.

        `handshake` is the client's, `ours` how it was answered, `notes` what came after it.
        """
        async with self._waking:
            if self._inbox is None:
                await self._wake()
                if handshake is not None:
                    self._replayed = (handshake.get("id"), ours)
                    await self._put(_encoded(handshake))
                    for note in notes:
                        await self._put(note)
        await self._put(line)

    async def _wake(self) -> None:
        def imported() -> Any:
            from sashizu_mcp_server.server import sdk

            return sdk

        sdk = await anyio.to_thread.run_sync(imported)
        server = sdk.make_server(self._service)
        self._inbox, inbox = anyio.create_memory_object_stream[Any](64)
        outbox, sent = anyio.create_memory_object_stream[Any](64)
        self._group.start_soon(self._serve, server, sdk.initialization(server), inbox, outbox)
        self._group.start_soon(self._forward, sent)

    async def _serve(self, server: Any, told: Any, inbox: Any, outbox: Any) -> None:
        await server.run(inbox, outbox, told)

    async def _put(self, line: bytes) -> None:
        import mcp_types as types
        from mcp.shared.message import SessionMessage

        frame: Any
        try:
            frame = SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
        except ValueError as error:
            frame = error  # the library answers what is no message
        assert self._inbox is not None
        await self._inbox.send(frame)

    async def _forward(self, sent: MemoryObjectReceiveStream[Any]) -> None:
        async with sent:
            async for message in sent:
                line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                data = line.encode() + b"\n"
                if self._replayed is not None and _answers(message.message, self._replayed[0]):
                    ours = self._replayed[1]
                    self._replayed = None
                    if data != ours:
                        logger.warning("the handshake was answered from a start that is outdated")
                        await self._differs()
                    continue
                await self._send(data)

    def close(self) -> None:
        """Say that the client has gone."""
        if self._inbox is not None:
            self._inbox.close()


def _answers(message: Any, request_id: Any) -> bool:
    return getattr(message, "id", None) == request_id and not hasattr(message, "method")


def _encoded(frame: Mapping[str, Any]) -> bytes:
    from pydantic_core import to_json

    return to_json(frame)

"""The few words of ASGI that the gateway needs: reading a request, writing an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio
import orjson

from sashizu_gateway.dialects.refusals import RequestRefused
from sashizu_gateway.forwarding import ToClient, is_stream

__all__ = ["Incoming", "Receive", "Room", "Scope", "Send"]

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]

ROOM = 512 * 1024 * 1024
"""Bytes of requests that a gateway has at one time, until they are answered."""

ROOM_AGAIN_S = 5
"""Seconds after which a request is worth another attempt that there was no memory for."""

BODY_S = 60.0
"""Seconds in which a request has to come."""

_BACK = frozenset(
    {
        *("content-type", "content-encoding", "cache-control", "retry-after", "retry-after-ms"),
        *("request-id", "x-request-id", "x-should-retry", "x-models-etag", "x-reasoning-included"),
    }
)
_BACK_PREFIXES = ("x-ratelimit-", "anthropic-ratelimit-", "openai-", "x-codex-")


@dataclass(slots=True)
class Room:
    """The memory that requests of all clients have; `left` is in bytes."""

    left: int = ROOM


class Incoming:
    """One request of a client, and the answer to it, which has `begun` and is `completed`.

    `streams` says that the answer comes as it is made; `unreadable` that it is too large to say
    what it cost.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope.get("query_string", b"")
        self.begun = False
        self.completed = False
        self.streams = False
        self.unreadable = anyio.Event()
        self._headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            self._headers.setdefault(name, value)
        self._room: Room | None = None
        self._taken = 0
        self._receive = receive
        self._send = send

    def header(self, name: str) -> str:
        """A header by its lower-case name, empty where there is none."""
        return self._headers.get(name.encode(), b"").decode("latin-1")

    @property
    def token(self) -> str:
        """What the client shows, in the way of either service."""
        kind, _, given = self.header("authorization").partition(" ")
        if kind.lower() == "bearer" and given.strip():
            return given.strip()
        return self.header("x-api-key").strip()

    def forwarded(self, names: frozenset[str], prefixes: Sequence[str]) -> dict[str, str]:
        """The headers that go along to the upstream."""
        found = {}
        for raw, value in self._headers.items():
            name, text = raw.decode("latin-1"), value.decode("latin-1")
            if (name in names or name.startswith(tuple(prefixes))) and _is_plain(text):
                found[name] = text
        return found

    def let_go(self) -> None:
        """Give back the memory of the body."""
        if self._room is not None:
            self._room.left += self._taken
            self._room = None

    def _take(self, room: Room, size: int) -> None:
        if size > room.left:
            raise RequestRefused(
                "busy", "the gateway has no memory for it now", retry_after_s=ROOM_AGAIN_S
            )
        self._room = room
        self._taken += size
        room.left -= size

    async def body(self, limit: int, room: Room) -> bytes:
        """The body, read no further than the limit; `let_go` when it is needed no more.

        Raises:
            RequestRefused: it is larger, encoded in some way, does not come, or there is no room.
        """
        if self.header("content-encoding").lower() not in ("", "identity"):
            raise RequestRefused("encoding", "send the body as it is, without compression")
        length = self.header("content-length")
        if length.isdecimal() and len(length) < 20 and int(length) > limit:
            raise _too_large(limit)
        found = bytearray()
        try:
            with anyio.fail_after(BODY_S):
                while True:
                    event = await self._receive()
                    if event["type"] == "http.disconnect":
                        raise RequestRefused("malformed", "the request ended before its body did")
                    piece = event.get("body", b"")
                    self._take(room, len(piece))
                    found += piece
                    if len(found) > limit:
                        raise _too_large(limit)
                    if not event.get("more_body"):
                        return bytes(found)
        except TimeoutError:
            raise RequestRefused("slow", "the body did not come in time") from None

    async def hung_up(self) -> None:
        """Return when the client has gone without its whole answer; once the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self.completed:
            await anyio.sleep_forever()  # that is how every request ends

    async def answer(self, status: int, told: object, headers: Sequence[tuple[str, str]]) -> None:
        """Answer with a JSON document."""
        body = orjson.dumps(told)
        sent = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *((name.encode(), value.encode()) for name, value in headers),
        ]
        self.begun = self.completed = True
        await self._send({"type": "http.response.start", "status": status, "headers": sent})
        shown = b"" if self.method == "HEAD" else body
        await self._send({"type": "http.response.body", "body": shown})

    def way_back(self, own: Sequence[tuple[str, str]] = ()) -> ToClient:
        """Passes an upstream's answer on; of its headers those that mean something to a client."""

        async def begin(status: int, headers: Sequence[tuple[str, str]]) -> None:
            self.begun, self.streams = True, is_stream(headers)
            back = [
                (name, value)
                for name, value in headers
                if name in _BACK or name.startswith(_BACK_PREFIXES)
            ]
            sent = [
                (name.encode("latin-1"), value.encode("latin-1", "replace"))
                for name, value in (*back, *own)
            ]
            await self._send({"type": "http.response.start", "status": status, "headers": sent})

        async def piece(data: bytes) -> None:
            await self._send({"type": "http.response.body", "body": data, "more_body": True})

        async def end() -> None:
            self.completed = True
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

        return ToClient(begin, piece, end, self.unreadable.set)


def _is_plain(text: str) -> bool:
    """Whether a value can be a header of ours."""
    return text.isascii() and text.isprintable()


def _too_large(limit: int) -> RequestRefused:
    return RequestRefused("too_large", f"the body is larger than {limit} bytes")

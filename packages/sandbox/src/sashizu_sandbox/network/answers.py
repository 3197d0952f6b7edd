"""The answer of a server (HTTP/1.1, RFC 9112), read with caps."""

from __future__ import annotations

import anyio
import httptools
from anyio.abc import ByteStream

__all__ = ["Answer", "Broken", "Headers"]

LARGEST_HEAD = 64 * 1024
"""Bytes of status line and headers above which nothing is read."""

_RECEIVED = 64 * 1024
_FINAL = 200
_WITHOUT_BODY = frozenset({204, 304})

Headers = list[tuple[bytes, bytes]]
"""Names and values as they were sent; names are lower case."""


class Broken(Exception):
    """A connection ended too early, or what came over it is no HTTP."""


class Answer:
    """An answer while it arrives. `read_head` first; then `read` until it gives None."""

    def __init__(self, stream: ByteStream, *, to_head: bool = False) -> None:
        self.headers: Headers = []
        self.status = 0
        self.reason = b""
        self._stream = stream
        self._to_head = to_head
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._interim = False
        self._complete = False

    # --- what the parser calls --------------------------------------------------------------------

    def on_status(self, status: bytes) -> None:
        if not self._complete:
            self.reason = status

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # what follows a body in chunks is dropped
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._complete:
            return  # the head of what follows a whole answer
        status = self._parser.get_status_code()
        self._interim = status < _FINAL
        if not self._interim:
            self.status = status
            self._complete = self._to_head or status in _WITHOUT_BODY

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._complete:
            return
        if self._interim:
            self.headers.clear()
        else:
            self._complete = True

    # --- what is read -----------------------------------------------------------------------------

    def values(self, name: bytes) -> list[bytes]:
        """The values of a header, in order."""
        return [value for key, value in self.headers if key == name]

    @property
    def length(self) -> int | None:
        """The bytes of the body as the server said; None where it did not."""
        values = self.values(b"content-length")
        return int(values[0]) if values and not self.values(b"transfer-encoding") else None

    async def read_head(self) -> None:
        """Read up to the end of the headers; interim answers are dropped.

        Raises:
            Broken: there are none, or too many.
        """
        size = 0
        while not self.status:
            size += await self._receive()
            if size > LARGEST_HEAD + _RECEIVED:
                raise Broken("its headers have no end")
        if sum(len(name) + len(value) for name, value in self.headers) > LARGEST_HEAD:
            raise Broken("its headers are too large")

    async def read(self) -> bytes | None:
        """The next piece of the body; None at its end.

        Raises:
            Broken: the connection ended before the body did.
        """
        while not self._pieces:
            if self._complete:
                return None
            await self._receive()
        return self._pieces.pop(0)

    async def _receive(self) -> int:
        try:
            data = await self._stream.receive(_RECEIVED)
        except anyio.EndOfStream:
            if self.status and not self._says_where_it_ends:
                self._complete = True
                return 0
            raise Broken("the connection was closed too early") from None
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            raise Broken("the connection broke") from error
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:  # what follows a whole answer is of no interest
                raise Broken("what it sends is no HTTP") from error
        return len(data)

    @property
    def _says_where_it_ends(self) -> bool:
        return any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)

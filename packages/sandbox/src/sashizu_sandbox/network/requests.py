"""Requests of programs to the proxy (HTTP/1.1, RFC 9112), read strictly.

What two servers could frame differently is refused: bare LF, folded headers, a length beside a
transfer encoding, anything after the end of the request.
"""

from __future__ import annotations

import re

import anyio
import httptools
from anyio.abc import ByteReceiveStream

from sashizu_sandbox.network.answers import Headers

__all__ = ["Incoming", "RequestRefused"]

_RECEIVED = 64 * 1024
_END = b"\r\n\r\n"
_FIRST_LINE = re.compile(rb"[A-Z-]+ [!-~]+ HTTP/1\.[01]\r\n")
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)|\x00|\r\n[ \t]")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_ONCE = (b"host", b"content-length", b"transfer-encoding", b"proxy-authorization", b"expect")


class RequestRefused(Exception):
    """A request is not served. `status` is the answer, and the text is for who sent it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Incoming:
    """A request while it arrives. `read_head` first; then `read` until it gives None.

    `early` is what came after the head of a CONNECT.
    """

    def __init__(self, stream: ByteReceiveStream) -> None:
        self.method = ""
        self.target = b""
        self.headers: Headers = []
        self.early = b""
        self._stream = stream
        self._parser = httptools.HttpRequestParser(self)
        self._pieces: list[bytes] = []
        self._has_head = False
        self._complete = False
        self._surplus = False

    # --- what the parser calls --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._surplus = self._complete

    def on_url(self, url: bytes) -> None:
        if not self._complete:
            self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # what follows a body in chunks is dropped
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._complete = True

    # --- what is read -----------------------------------------------------------------------------

    def value(self, name: bytes) -> bytes | None:
        """The value of a header that may be there once."""
        return next((value for key, value in self.headers if key == name), None)

    async def read_head(self, most: int) -> bool:
        """Read the head, at most so many bytes; False if nothing came.

        Raises:
            RequestRefused: it is no request, or not framed in one way only.
        """
        data = bytearray()
        while (end := data.find(_END)) < 0 and len(data) <= most:
            try:
                data += await self._stream.receive(_RECEIVED)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                if not data:
                    return False
                raise RequestRefused(400, "the headers have no end") from None
        if not 0 <= end <= most:
            raise RequestRefused(431, f"the headers have more than {most} bytes")
        head, rest = bytes(data[: end + len(_END)]), bytes(data[end + len(_END) :])
        if not _FIRST_LINE.match(head):
            raise RequestRefused(400, "that is no request as a proxy takes it")
        if _BARE.search(head):
            raise RequestRefused(400, "lines end in CR LF, and headers have one line each")
        self._feed(head)
        self.method = self._parser.get_method().decode("latin-1")
        self._check()
        self._check_framing()
        if self.method == "CONNECT":
            self.early = rest
        elif rest:
            self._feed(rest)
        return True

    async def read(self) -> bytes | None:
        """The next piece of the body; None at its end.

        Raises:
            RequestRefused: it is framed wrongly, or goes on after its end.
        """
        while not self._pieces:
            if self._complete:
                return None
            try:
                data = await self._stream.receive(_RECEIVED)
            except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
                raise RequestRefused(400, "the body ended too early") from error
            self._feed(data)
        return self._pieces.pop(0)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._complete = True  # CONNECT: what follows its head is no HTTP
        except httptools.HttpParserError as error:
            raise RequestRefused(400, "that is no HTTP request as a proxy takes it") from error
        if self._surplus:
            raise RequestRefused(400, "one request a connection: something followed it")

    def _check(self) -> None:
        """Refuse what a proxy does not take."""
        connect = self.method == "CONNECT"  # for which some clients still speak HTTP/1.0
        if self._parser.get_http_version() != "1.1" and not connect:
            raise RequestRefused(505, "HTTP/1.1 is spoken here")
        if self.method == "TRACE":
            raise RequestRefused(405, "TRACE is not passed on")
        if self.value(b"host") is None and not connect:
            raise RequestRefused(400, "there is no Host")
        if (self.value(b"expect") or b"100-continue").lower() != b"100-continue":
            raise RequestRefused(417, "the only expectation is 100-continue")

    def _check_framing(self) -> None:
        """Refuse heads that could be framed in two ways."""
        for name in _ONCE:
            if sum(key == name for key, _ in self.headers) > 1:
                raise RequestRefused(400, f"{name.decode()} is there more than once")
        length, coding = self.value(b"content-length"), self.value(b"transfer-encoding")
        if length is not None and coding is not None:
            raise RequestRefused(400, "content-length and transfer-encoding exclude each other")
        if length is not None and not _LENGTH.fullmatch(length):
            raise RequestRefused(400, "content-length is no number")
        if coding is not None and coding.lower() != b"chunked":
            raise RequestRefused(501, "the only transfer-encoding is chunked")
        has_body = coding is not None or int(length or 0) > 0
        if has_body and self._complete:  # it asks for another protocol, and its body would be that
            raise RequestRefused(501, "no other protocol is spoken here")

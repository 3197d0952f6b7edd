"""One connection that carries one exchange at a time (HTTP/1.1, RFC 9112)."""

from __future__ import annotations

from contextlib import suppress

import anyio
import httptools
from anyio.abc import ByteStream, SocketAttribute

from sashizu_openai.transport.faults import FAULTS, Broken
from sashizu_openai.transport.liveness import has_input, holds_back, tls_layers

__all__ = ["ERROR_BODY_S", "LARGEST_ERROR", "Connection"]

LARGEST_ERROR = 64 * 1024
"""Bytes of an error's body that are read."""

ERROR_BODY_S = 5.0
"""Seconds in which the body of an error has to come."""

LARGEST_HEAD = 256 * 1024
"""Bytes of status line and headers, or of trailers, above which nothing is read."""

_TOGETHER = 64 * 1024
"""Bytes of a body up to which it goes out together with its head."""

_NO_HTTP = "what it sends is no HTTP"
_RECEIVED = 256 * 1024
_FINAL, _REFUSED = 200, 300


class _Incoming:
    """An answer while it arrives: what the parser calls."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.headers: dict[str, str] = {}
        self._lines: dict[str, list[str]] = {}
        self.pieces: list[bytes] = []
        self.status = 0
        self.complete = False
        self.kept = False
        self.surplus = False
        self.broken = False
        self._interim = False

    def on_message_begin(self) -> None:
        self.surplus = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # what follows the body is of no interest, and may have no end
            key = name.decode("latin-1").lower()
            self._lines.setdefault(key, []).append(value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        self._interim = status < _FINAL
        if not self._interim:
            self.status = status
            self.headers = {name: ", ".join(values) for name, values in self._lines.items()}
        self._lines.clear()

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        if self._interim:
            return
        self.complete = True
        self.kept = self.parser.should_keep_alive()

    @property
    def ends_with_connection(self) -> bool:
        """Whether nothing but the end of the connection tells the end of the body."""
        return not ("content-length" in self.headers or "transfer-encoding" in self.headers)


class Connection:
    """A connection to a server, or through a proxy to one.

    `status` and `headers`, whose names are lower case, are those of the last answer. `since` is
    when it was put aside, in `anyio.current_time()`.
    """

    def __init__(self, stream: ByteStream) -> None:
        self.since = 0.0
        self._stream = stream
        self._socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - no Django
        self._cut = False
        self._layers = tls_layers(stream)
        self._incoming: _Incoming | None = None  # none while it waits: it is most of the memory

    @property
    def status(self) -> int:
        return self._incoming.status if self._incoming is not None else 0

    @property
    def headers(self) -> dict[str, str]:
        return self._incoming.headers if self._incoming is not None else {}

    @property
    def usable(self) -> bool:
        """Whether the last exchange is over, and another may follow."""
        incoming = self._incoming
        return (
            incoming is not None
            and incoming.complete
            and incoming.kept
            and not self._cut
            and not (incoming.surplus or incoming.pieces)
        )

    def put_aside(self, now: float) -> None:
        """Forget the last exchange."""
        self.since = now
        self._incoming = None

    @property
    def alive(self) -> bool:
        """Whether the other side has neither closed it nor said anything unasked."""
        return not (has_input(self._socket) or any(map(holds_back, self._layers)))

    async def send(self, head: bytes, body: bytes) -> None:
        """Send a request, and read the head of its answer.

        Raises:
            Broken: the connection ended, or what came is no HTTP.
        """
        self._incoming = None
        if len(body) > _TOGETHER:
            await self._send_and_listen(head, body)
            return
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._stream.send(head + body)  # reading tells what broke it
        await self._read_head()

    async def _send_and_listen(self, head: bytes, body: bytes) -> None:
        """Send what takes its time: a refusal of it may come first, and is lost unless it is read.

        A server that refuses closes the connection, whereupon what follows breaks it.
        """
        fault: Exception | None = None
        sent = anyio.Event()

        async def send() -> None:
            with suppress(*FAULTS):  # what is read tells why
                await self._stream.send(head)
                await self._stream.send(body)
                sent.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            try:
                await self._read_head()
                if self.status >= _REFUSED and not sent.is_set():
                    await self._read_refusal()
                    self._cut = True
                    tasks.cancel_scope.cancel()
            except FAULTS as error:
                fault = error
                tasks.cancel_scope.cancel()
        if fault is not None:
            raise fault

    async def _read_head(self) -> None:
        size = 0
        while not self.status:
            size += len(await self._receive())
            if size > LARGEST_HEAD:
                raise Broken("its headers have no end")

    async def _read_refusal(self) -> None:
        """Read a refusal's body ahead: once the request is cut off, there is no more reading."""
        size = 0
        with anyio.move_on_after(ERROR_BODY_S), suppress(*FAULTS):
            while not (self._incoming is None or self._incoming.complete) and size < LARGEST_ERROR:
                size += len(await self._receive())

    async def read(self) -> bytes | None:
        """The next piece of the body as it was sent; None at the end.

        Raises:
            Broken: the connection ended before the body did, or what is no body has no end.
        """
        incoming = self._incoming
        size = 0
        while incoming is not None and not incoming.pieces:
            if incoming.complete:
                return None
            size += len(await self._receive())
            if size > LARGEST_HEAD and not incoming.pieces:
                raise Broken("its headers have no end")
        return incoming.pieces.pop(0) if incoming is not None else None

    async def _receive(self) -> bytes:
        """Take what has come, and feed the parser with it."""
        incoming = self._incoming
        if incoming is not None and incoming.broken:
            raise Broken(_NO_HTTP)
        try:
            data = await self._stream.receive(_RECEIVED)
        except anyio.EndOfStream:
            if incoming is not None and incoming.status and incoming.ends_with_connection:
                incoming.complete = True
                return b""
            raise Broken("the connection was closed") from None
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise Broken("the connection broke") from error
        if incoming is None:
            incoming = self._incoming = _Incoming()
        try:
            incoming.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if incoming.complete:
                incoming.surplus = True  # the answer is whole; what follows is of no interest
            elif incoming.pieces:
                incoming.broken = True  # what came before is good, and comes first
            else:
                raise Broken(_NO_HTTP) from error
        return data

    async def close(self) -> None:
        """Let it go, without a farewell."""
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(self._stream)

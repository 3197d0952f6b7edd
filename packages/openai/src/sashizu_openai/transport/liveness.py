"""Whether something waits to be read: in a socket, or in what has been taken from it already."""

from __future__ import annotations

import select
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

__all__ = ["Unbuffered", "has_input", "holds_back", "tls_layers"]

_AT_ONCE = 256 * 1024
"""The most that asyncio takes from a socket in one go, in bytes."""


class Unbuffered(ByteStream):
    """A socket's stream that hands on all it has taken, however little is asked for.

    What TLS asks for is less than what asyncio takes, and the rest would wait where nobody sees it.
    """

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream

    async def receive(self, max_bytes: int = _AT_ONCE) -> bytes:
        return await self._stream.receive(max(max_bytes, _AT_ONCE))

    async def send(self, item: bytes) -> None:
        await self._stream.send(item)

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._stream.extra_attributes


def tls_layers(stream: ByteStream) -> tuple[ssl.SSLObject, ...]:
    """The encryptions that a stream goes through, the outermost first: a proxy has its own."""
    layers = []
    while isinstance(stream, TLSStream):
        layers.append(stream.extra(TLSAttribute.ssl_object))  # noqa: S610 - no Django
        stream = stream.transport_stream  # type: ignore[assignment]  # all of ours are both ways
    return tuple(layers)


def holds_back(layer: ssl.SSLObject) -> bool:
    """Whether an encryption has something to say: text that nobody has read, or its end.

    What it says is lost, and the connection with it.
    """
    try:
        layer.read(1)
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLError:
        return True
    return True


def has_input(sock: Any) -> bool:
    """Whether a socket could be read from at once: data, its end, or an error."""
    try:
        number = sock.fileno()
        if number < 0:
            return True
        if hasattr(select, "poll"):  # where there is none, any number fits into select
            watch = select.poll()
            watch.register(number, select.POLLIN)
            return bool(watch.poll(0))
        return bool(select.select([number], [], [], 0)[0])
    except (OSError, ValueError):
        return True

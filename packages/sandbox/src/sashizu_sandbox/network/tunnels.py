"""`CONNECT`: bytes that the proxy cannot read, to a server whose name it can check."""

from __future__ import annotations

from ipaddress import ip_address

import anyio
from anyio.abc import ByteStream
from sashizu_core.grants import NetRequest

from sashizu_sandbox.network.client_hello import (
    LARGEST,
    ClientHello,
    Incomplete,
    NoClientHello,
    read_hello,
)
from sashizu_sandbox.network.dialling import Judge
from sashizu_sandbox.network.hosts import HostRefused, parse_host
from sashizu_sandbox.network.relaying import Limits, relay
from sashizu_sandbox.network.url import Url

__all__ = ["Cut", "tunnel"]

_RECEIVED = 16 * 1024
_ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Cut(Exception):
    """A connection is ended after its answer began; the text says why."""


async def tunnel(
    program: ByteStream, server: ByteStream, url: Url, early: bytes, judge: Judge, limits: Limits
) -> None:
    """Say that the tunnel stands, and pass bytes on if they are TLS for the host of `url`.

    `early` is what the program sent before it was told.

    Raises:
        Cut: the program does not begin with TLS, or asks for another name, or hides the name.
    """
    await program.send(_ESTABLISHED)
    hello, data = await _first_message(program, early, limits)
    if hello.encrypted:
        raise Cut("it may ask for another name in secret (encrypted client hello)")
    if not _fits(hello.server_name, url.host):
        await _record(hello.server_name, url, judge)
        raise Cut(f"it asks for {hello.server_name!r} where {url.host!r} was allowed")
    await server.send(data)
    await relay(program, server, limits)


async def _first_message(
    program: ByteStream, early: bytes, limits: Limits
) -> tuple[ClientHello, bytes]:
    data = early
    with anyio.move_on_after(limits.head_s):
        while len(data) <= LARGEST:
            try:
                return read_hello(data), data
            except NoClientHello as error:
                raise Cut(f"it is no TLS: {error}") from error
            except Incomplete:
                data += await program.receive(_RECEIVED)
    raise Cut("its first message has no end")


def _fits(asked: str, host: str) -> bool:
    """Whether a name is the host; an address is asked for without a name (RFC 6066, section 3)."""
    try:
        ip_address(host)
    except ValueError:
        return asked == host
    return asked in ("", host)


async def _record(asked: str, url: Url, judge: Judge) -> None:
    """Have the name that was really meant judged, so that the record has it."""
    try:
        host = parse_host(asked)
    except HostRefused:
        return
    await judge(NetRequest("https", host, url.port, "/"))

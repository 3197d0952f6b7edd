"""The connections to one server: opened when needed, kept for a while."""

from __future__ import annotations

import ssl
from collections import deque

import anyio
from anyio.abc import ByteStream
from anyio.streams.tls import TLSStream

from sashizu_openai.transport.connection import Connection
from sashizu_openai.transport.faults import ProxyUnreached
from sashizu_openai.transport.liveness import Unbuffered
from sashizu_openai.transport.origin import Origin
from sashizu_openai.transport.proxies import Proxy, open_tunnel

__all__ = ["Pool"]


class Pool:
    """Connections to one server, through a proxy if there is one.

    There may be any number: how much runs at once is decided above, and time spent waiting for a
    free connection would look like a slow server. `keep_s` is how long one may be idle.
    """

    def __init__(
        self, origin: Origin, proxy: Proxy | None, tls: ssl.SSLContext | None, keep_s: float
    ) -> None:
        self._origin = origin
        self._proxy = proxy
        self._tls = tls
        self._keep_s = keep_s
        self._idle: deque[Connection] = deque()
        self._closed = False

    async def take(self) -> Connection:
        """A connection that is ready for a request.

        Raises:
            OSError, ProxyRefused, ProxyUnreached: there is none; nothing of a request was sent.
        """
        await self._drop_expired()
        while self._idle:
            connection = self._idle.pop()  # the last one is the least likely to be closed
            if connection.alive:
                return connection
            await connection.close()
        return Connection(await self._connect())

    async def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request, or close it where there can be none."""
        if self._closed or not connection.usable:
            await connection.close()
            return
        connection.put_aside(anyio.current_time())
        self._idle.append(connection)

    async def close(self) -> None:
        """Close what is idle now, and the others when they are given back."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()

    async def _drop_expired(self) -> None:
        oldest = anyio.current_time() - self._keep_s
        while self._idle and self._idle[0].since < oldest:
            await self._idle.popleft().close()

    async def _connect(self) -> ByteStream:
        origin, proxy = self._origin, self._proxy
        if proxy is None:
            stream: ByteStream = await anyio.connect_tcp(origin.host, origin.port)
        else:
            stream = await self._reach(proxy)
        try:
            if proxy is not None and origin.secure:
                await open_tunnel(stream, proxy, origin)
            if origin.secure:
                return await self._encrypted(stream, origin)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
            raise
        return stream

    async def _reach(self, proxy: Proxy) -> ByteStream:
        try:
            stream = await anyio.connect_tcp(proxy.origin.host, proxy.origin.port)
        except OSError as error:
            raise ProxyUnreached from error
        if not proxy.origin.secure:
            return stream
        try:
            return await self._encrypted(stream, proxy.origin)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
            if isinstance(error, OSError | anyio.BrokenResourceError | anyio.EndOfStream):
                raise ProxyUnreached from error
            raise

    async def _encrypted(self, stream: ByteStream, origin: Origin) -> ByteStream:
        return await TLSStream.wrap(
            stream if isinstance(stream, TLSStream) else Unbuffered(stream),
            server_side=False,
            hostname=origin.host,
            ssl_context=self._tls,
            standard_compatible=False,  # as HTTP has it: its own framing tells where an answer ends
        )

"""The edge towards clients: a server on an address of this machine, a Unix socket, or both."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import uvicorn
from sashizu_core.errors import UsageError
from sashizu_core.loopback import Address, listen_on, read_address
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sashizu_gateway.gateway import Gateway

__all__ = ["Address", "address_of", "serve"]

BACKLOG = 1024
LARGEST_HEAD = 512 * 1024
"""Bytes of a request up to the end of its headers; more than is read in one go."""

GRACE_S = 2
"""Seconds that calls get to end when the gateway does."""

FAREWELL_S = 2
"""Seconds that calls which were cut get to be booked."""


def address_of(text: str) -> Address:
    """Where a gateway listens, as `read_address` reads it.

    Raises:
        UsageError: it is no address, or one that other machines reach.
    """
    return read_address(
        text,
        "a gateway",
        example="127.0.0.1:8797",
        instead="tokens would travel in clear text; put a proxy with TLS in front of it",
    )


@asynccontextmanager
async def serve(
    gateway: Gateway, address: Address | None, *, unix: Path | None = None
) -> AsyncGenerator[Address | None]:
    """Serve until left; yields the address with the port that was taken.

    `unix` is the path of a socket that only its owner may connect to.

    Raises:
        UsageError: the address cannot be had.
    """
    listening = [listen_on(address, BACKLOG)] if address is not None else []
    if unix is not None:
        listening.append(_listen_unix(unix))
    if address is not None:
        address = Address(address.host, int(listening[0].getsockname()[1]))
    server = _Server(_config(gateway))
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(server.serve, listening)
            await server.ready.wait()
            try:
                yield address
            finally:
                server.should_exit = True
                gateway.ended = gateway.ended or "it is being stopped"
                with anyio.move_on_after(GRACE_S + FAREWELL_S + 1, shield=True):
                    await server.gone.wait()
                group.cancel_scope.cancel()
    finally:
        for each in listening:
            each.close()
        if unix is not None:
            unix.unlink(missing_ok=True)  # noqa: ASYNC240 - a socket of ours


class _Server(uvicorn.Server):
    """Leaves signals to who started it, and says when it is there and when it has gone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = anyio.Event()
        self.gone = anyio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().serve(sockets)
            with anyio.move_on_after(FAREWELL_S):
                while self.server_state.tasks:  # noqa: ASYNC110 - cancelled; nobody tells of their end
                    await anyio.sleep(0.01)
        finally:
            self.gone.set()


class _Protocol(HttpToolsProtocol):
    """Reads no headers for ever."""

    _head: int | None = 0

    def on_message_begin(self) -> None:
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += len(data)
            if self._head > LARGEST_HEAD:
                self.transport.abort()
                return
        super().data_received(data)


def _config(gateway: Gateway) -> uvicorn.Config:
    return uvicorn.Config(
        cast(Any, gateway),
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=GRACE_S,
    )


def _listen_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        # Not by a umask: that is the whole process's, and folders that others make at the same
        # time could not be entered. Nobody connects before `listen`.
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(f"cannot listen on {path}: {error.strerror}") from error
    return listener

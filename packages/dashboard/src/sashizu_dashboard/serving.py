"""The edge towards browsers: an HTTP server on an address of this machine."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import uvicorn
from sashizu_core.loopback import Address, listen_on, read_address
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

__all__ = ["Address", "Listening", "address_of", "listening", "serve"]

BACKLOG = 128
MOST_AT_ONCE = 200
"""Connections that are served at once."""

REQUEST_S = 10.0
"""Seconds in which a whole request has to come, from the beginning or since the last answer."""

GRACE_S = 2
"""Seconds that answers get to end when the dashboard does."""


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that takes connections; `address` has the port that was taken."""

    address: Address
    socket: socket.socket


def address_of(text: str) -> Address:
    """Where the dashboard listens, as `read_address` reads it.

    Raises:
        UsageError: it is no address, or one that other machines reach.
    """
    return read_address(
        text,
        "the dashboard",
        example="127.0.0.1:0",
        instead="what it shows would travel in clear text; forward the port over ssh instead",
    )


@contextmanager
def listening(address: Address) -> Generator[Listening]:
    """Take an address until left.

    Raises:
        UsageError: somebody else has it, or it cannot be had.
    """
    otherwise = f"--listen {address.host}:0 takes a port that is free"
    with listen_on(address, BACKLOG, otherwise=otherwise) as listener:
        yield Listening(Address(address.host, int(listener.getsockname()[1])), listener)


@asynccontextmanager
async def serve(app: ASGIApp, place: Listening, end: Callable[[], None]) -> AsyncGenerator[None]:
    """Serve until left; `end` is called before, and has to make answers end that never would."""
    server = _Server(_config(app))
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, [place.socket])
        await server.ready.wait()
        try:
            yield
        finally:
            server.should_exit = True
            end()
            with anyio.move_on_after(GRACE_S + 1, shield=True):
                await server.gone.wait()
            group.cancel_scope.cancel()


class _InTime(H11Protocol):
    """Takes no connection for long on which nobody asks: whoever holds all keeps others out.

    Any process of this machine can connect, with or without the token.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_request()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._expect_request()

    def _expect_request(self) -> None:
        self.loop.call_later(REQUEST_S, self._close_if_late, self.cycle)

    def _close_if_late(self, before: RequestResponseCycle | None) -> None:
        answered = before is None or before.response_complete
        if answered and self.cycle is before and not self.transport.is_closing():
            self.transport.close()


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
        finally:
            self.gone.set()


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_InTime,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=MOST_AT_ONCE,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_S,
    )

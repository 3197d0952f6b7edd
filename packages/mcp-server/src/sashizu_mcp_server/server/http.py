"""Streamable HTTP: the protocol's library behind a token, for names that we know."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from sashizu_core.errors import UsageError

from sashizu_mcp_server.server.sdk import make_server
from sashizu_mcp_server.server.service import Service
from sashizu_mcp_server.server.tokens import is_bearer, kept_token, new_token
from sashizu_mcp_server.startup.options import Options

__all__ = ["Guarded", "address_of", "allowed_names", "serve_http"]

logger = logging.getLogger(__name__)

PATH = "/mcp"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
LOOK_S = 1.0

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def address_of(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `:PORT` or `[V6]:PORT`; port 0 takes any that is free.

    Raises:
        UsageError: it is none.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"--http takes HOST:PORT, such as 127.0.0.1:8642, not {text!r}")
    return host or "127.0.0.1", int(port)


def allowed_names(host: str, port: int, further: Sequence[str]) -> TransportSecuritySettings:
    """The `Host` and `Origin` headers that are let in; `further` are names without port."""
    names = dict.fromkeys([*LOOPBACK, host, *further] if host in LOOPBACK else [host, *further])
    shown = [f"[{name}]" if ":" in name else name for name in names]
    hosts = [*shown, *(f"{name}:{port}" for name in shown)]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=hosts,
        allowed_origins=[f"{scheme}://{name}" for name in hosts for scheme in ("http", "https")],
    )


class Guarded:
    """An application that answers only who has the token. `heard` is when somebody last had."""

    def __init__(self, app: App, token: str | None) -> None:
        self._app = app
        self._token = token
        self.heard = anyio.current_time()
        self.at_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Blanks around a value are no part of it (RFC 9110 5.5); not every parser takes them away.
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        headers = dict(scope["headers"])
        if self._token is not None and not is_bearer(headers.get(b"authorization"), self._token):
            await _refuse(send)
            return
        self.at_work += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self.at_work -= 1
            self.heard = anyio.current_time()


async def _refuse(send: Send) -> None:
    body = b'{"error":"invalid_token","error_description":"say Authorization: Bearer TOKEN"}'
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"www-authenticate", b'Bearer realm="sashizu"'),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _token(options: Options, host: str) -> str | None:
    if not options.token:
        if host not in LOOPBACK:
            raise UsageError(f"--no-token is for loopback only, not for {host!r}")
        return None
    return kept_token(Path(options.token_file)) if options.token_file else new_token()


async def serve_http(service: Service, options: Options, idle_s: float) -> None:
    """Serve until the process is told to end, or nobody has asked for anything for long.

    Raises:
        UsageError: the address cannot be had, or would be open to everybody.
    """
    host, port = address_of(options.http)
    token = _token(options, host)
    listening = _listen(host, port)
    port = int(listening.getsockname()[1])
    allowed = allowed_names(host, port, options.allow_hosts)
    app = make_server(service).streamable_http_app(
        streamable_http_path=PATH, json_response=False, transport_security=allowed, host=host
    )
    guarded = Guarded(app, token)
    config = uvicorn.Config(
        guarded,
        log_level="warning",
        access_log=False,
        lifespan="on",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    server = _Quiet(config)
    _announce(host, port, token, options)
    async with anyio.create_task_group() as group:
        group.start_soon(_until_idle, guarded, service, server, idle_s)
        try:
            await server.serve(sockets=[listening])
        finally:
            listening.close()
        group.cancel_scope.cancel()


class _Quiet(uvicorn.Server):
    """Leaves signals to who started it."""

    def install_signal_handlers(self) -> None:
        """The process ends as a whole."""


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, connections are known to be TCP, and small answers are not held back.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening


def _announce(host: str, port: int, token: str | None, options: Options) -> None:
    """Tell where the server is; the token once, to who started it."""
    shown = f"[{host}]" if ":" in host else host
    lines = [f"sashizu: listening on http://{shown}:{port}{PATH}"]
    if token is not None and options.token_file:
        lines.append(f"sashizu: the token is in {options.token_file}")
    elif token is not None:
        lines.append(f"sashizu: token {token}")
    sys.stderr.write("\n".join(lines) + "\n")
    sys.stderr.flush()


async def _until_idle(
    guarded: Guarded, service: Service, server: uvicorn.Server, idle_s: float
) -> None:
    parent = os.getppid()
    while True:
        await anyio.sleep(LOOK_S)
        quiet = anyio.current_time() - guarded.heard > idle_s
        alone = os.getppid() != parent and not _is_daemon(parent)
        if alone or (quiet and not guarded.at_work and not service.runs.alive):
            server.should_exit = True


def _is_daemon(parent: int) -> bool:
    """Whether the server was started by init, and so belongs to nobody who could go."""
    return parent == 1

"""Logging in to servers by OAuth: tokens that are kept, and the moment when a person is asked."""

from __future__ import annotations

import os
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
from anyio.abc import SocketStream
from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthToken,
)
from pydantic import AnyUrl, BaseModel, ConfigDict, ValidationError
from sashizu_core.home import state_home

from sashizu_mcp_server.client.configured import ServerConfig
from sashizu_mcp_server.client.faults import NotStarted
from sashizu_mcp_server.client.starting import expanded

__all__ = ["KeptTokens", "Login", "authorization", "listening"]

REDIRECT_PORT = 47823
"""Where a browser comes back to: registered with the authorization server, so always the same."""

MOST_REQUEST_BYTES = 16 * 1024

Redirect = Callable[[str], Awaitable[None]]
Callback = Callable[[], Awaitable[AuthorizationCodeResult]]


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None


class KeptTokens:
    """The tokens of one server, in a file of the state folder with mode 0600."""

    def __init__(self, config: ServerConfig, home: Path | None = None) -> None:
        key = f"{config.identity}\n{config.entry.url}"
        name = sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        self._file = (home or state_home()) / "mcp" / "tokens" / f"{name}.json"

    async def get_tokens(self) -> OAuthToken | None:
        return self._read().tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._write(self._read().model_copy(update={"tokens": tokens}))

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._read().client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._write(self._read().model_copy(update={"client": client_info}))

    def _read(self) -> _Kept:
        try:
            return _Kept.model_validate_json(self._file.read_bytes())
        except (OSError, ValidationError):
            return _Kept()  # whoever needs them logs in again

    def _write(self, kept: _Kept) -> None:
        fresh = self._file.with_name(f".{self._file.stem}.{os.getpid()}.new")
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(kept.model_dump_json())
        fresh.replace(self._file)


class Login:
    """The moment when a person logs in: shows the address, and takes what the browser brings."""

    def __init__(self, show: Callable[[str], None], *, browser: bool = True) -> None:
        self._show = show
        self._browser = browser
        self._send, self._receive = anyio.create_memory_object_stream[AuthorizationCodeResult](1)

    async def redirect(self, address: str) -> None:
        self._show(address)
        if self._browser and urlsplit(address).scheme == "https":
            await anyio.to_thread.run_sync(webbrowser.open, address)

    async def callback(self) -> AuthorizationCodeResult:
        return await self._receive.receive()

    async def serve(self, stream: SocketStream) -> None:
        """Answer one request of the browser."""
        async with stream:
            head = await stream.receive(MOST_REQUEST_BYTES)
            words = head.split(b"\r\n", 1)[0].split()
            target = words[1].decode("ascii", "replace") if len(words) == 3 else ""
            asked = parse_qs(urlsplit(target).query)
            said = b"You are logged in, and can close this page."
            if "code" in asked:
                result = AuthorizationCodeResult(
                    code=asked["code"][0],
                    state=asked.get("state", [None])[0],
                    iss=asked.get("iss", [None])[0],
                )
                try:
                    self._send.send_nowait(result)
                except anyio.WouldBlock:
                    said = b"This page was opened twice."
            else:
                said = b"You are not logged in."
            await stream.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(said), said)
            )

    def close(self) -> None:
        self._send.close()
        self._receive.close()


@asynccontextmanager
async def listening(login: Login) -> AsyncIterator[None]:
    """Listen for the browser on this machine while a person logs in.

    Raises:
        OSError: somebody else listens there.
    """
    listener = await anyio.create_tcp_listener(
        local_host="127.0.0.1", local_port=REDIRECT_PORT, reuse_port=False
    )
    try:
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, login.serve)
            yield
            group.cancel_scope.cancel()
    finally:
        login.close()


def authorization(
    config: ServerConfig, env: Mapping[str, str], login: Login | None = None
) -> httpx2.Auth | None:
    """What adds tokens to requests; None for a server without OAuth.

    Where nobody can log in, a server that wants it is not reached, and the error says how to.
    """
    if not config.oauth:
        return None

    async def nobody(address: str) -> None:  # noqa: ARG001 - what it would have shown
        raise NotStarted(config.name, f"wants a login: sashizu mcp login {config.name}")

    async def never() -> AuthorizationCodeResult:
        raise NotStarted(config.name, f"wants a login: sashizu mcp login {config.name}")

    return OAuthClientProvider(
        expanded(config, config.entry.url or "", env),
        OAuthClientMetadata(
            client_name="sashizu",
            redirect_uris=[AnyUrl(f"http://127.0.0.1:{REDIRECT_PORT}/callback")],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",  # noqa: S106 - a word of OAuth, no password
        ),
        KeptTokens(config),
        redirect_handler=login.redirect if login is not None else nobody,
        callback_handler=login.callback if login is not None else never,
    )

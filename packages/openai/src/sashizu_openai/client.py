"""The edge: the only module that knows the SDK and what it sends requests with.

The SDK's typed layer walks every message against every type of the API on every call; here it gets
bytes and gives bytes.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import cast

import aiohttp
import anyio
import httpx2
from openai import APIError, AsyncOpenAI, AsyncStream, DefaultAioHttpClient, Omit
from sashizu_core.errors import UsageError

from sashizu_openai.endpoints import Endpoint
from sashizu_openai.environment import check_proxies

__all__ = ["Body", "Client", "Failure", "Status"]

LARGEST_ERROR = 64 * 1024
"""Bytes of an error's body that are read."""

ERROR_BODY_S = 5.0
"""Seconds in which the body of an error has to come."""

LAST_WORDS_S = 1.0
"""Seconds that closing may take."""

_PIECE = 256 * 1024
_TELEMETRY = (
    "Arch",
    "Async",
    "Lang",
    "OS",
    "Package-Version",
    "Retry-Count",
    "Runtime",
    "Runtime-Version",
)
"""What the SDK would tell of this machine in headers, none of which anybody needs."""

_FAULTS = (APIError, httpx2.HTTPError, httpx2.InvalidURL, aiohttp.ClientError, OSError, ValueError)


class Status(Exception):
    """The answer has another status than 2xx. Header names are lower case."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class Failure(Exception):
    """There is no answer, or it broke off. `sent` is False if no byte of the body went out."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class Body:
    """The body of an answer, decompressed."""

    def __init__(self, pieces: AsyncGenerator[bytes, None]) -> None:
        self._pieces = pieces

    async def read(self) -> bytes | None:
        """The next piece; None at the end.

        Raises:
            Failure: the connection broke, or the compression is damaged.
        """
        try:
            return await anext(self._pieces, None)
        except _FAULTS as error:
            raise Failure(f"the answer broke off ({type(error).__name__})", sent=True) from error


class Client:
    """Requests to one endpoint, over connections that are kept. Make it in the event loop.

    Raises:
        UsageError: the proxies or certificates of the environment cannot be used.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._base_url = endpoint.base_url
        self._host = httpx2.URL(endpoint.base_url).netloc.decode("ascii")
        self._headers = _headers(endpoint)
        self._sdk = AsyncOpenAI(
            api_key=endpoint.key or "none",
            base_url=endpoint.base_url,
            max_retries=0,
            timeout=None,  # the clock of the attempt decides
            http_client=_http_client(secure=endpoint.base_url.startswith("https:")),
        )

    @asynccontextmanager
    async def post(
        self, path: str, body: bytes, *, on_connected: Callable[[], None]
    ) -> AsyncIterator[Body]:
        """Send a request; yields the body of the answer. On leaving it is closed.

        `on_connected` is called when the connection stands and the body begins to go out.

        Raises:
            Status: an answer came, and it is no success.
            Failure: no answer came.
        """
        upload = _Upload(body, on_connected)
        try:
            answered: object = await self._sdk.post(
                self._base_url + path,  # complete, so that the SDK need not put it together
                cast_to=httpx2.Response,
                content=upload,
                options={"headers": self._headers | {"Content-Length": str(len(body))}},
                stream=True,
                stream_cls=AsyncStream[object],
            )
        except _FAULTS as error:
            raise Failure(_reason(error, self._host), sent=upload.started) from error
        response = cast("httpx2.Response", answered)  # `cast_to` outranks `stream_cls`
        pieces = response.aiter_bytes()
        try:
            yield Body(pieces)
        finally:
            with anyio.move_on_after(LAST_WORDS_S, shield=True):
                await _close(response, pieces)

    async def close(self) -> None:
        with anyio.move_on_after(LAST_WORDS_S, shield=True):
            await self._sdk.close()


class _Upload:
    """The body of a request; knows whether any of it has been taken."""

    def __init__(self, body: bytes, on_started: Callable[[], None]) -> None:
        self.started = False
        self._on_started = on_started
        self._pieces = (body[at : at + _PIECE] for at in range(0, len(body), _PIECE))

    def __aiter__(self) -> _Upload:
        return self

    async def __anext__(self) -> bytes:
        if not self.started:
            self.started = True
            self._on_started()
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


def _http_client(*, secure: bool) -> httpx2.AsyncClient:
    cert_file, cert_dir = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    try:
        context = _tls_context(cert_file, cert_dir)
    except OSError as error:  # an ssl.SSLError is one
        raise UsageError(
            f"the certificates of {cert_file or cert_dir or 'this system'} cannot be used "
            f"({error.strerror or error}); see SSL_CERT_FILE and SSL_CERT_DIR"
        ) from error
    check_proxies()
    return DefaultAioHttpClient(
        verify=context,
        timeout=None,
        follow_redirects=False,
        # 0 is no limit: how much runs at once is decided above, and time spent waiting for a free
        # connection would look like a slow server. Local servers drop idle connections after 5 s,
        # and a request sent into that moment is lost.
        limits=httpx2.Limits(max_connections=0, keepalive_expiry=30 if secure else 4),
        event_hooks={"response": [_raise_status]},
    )


@functools.cache
def _tls_context(_cert_file: str | None, _cert_dir: str | None) -> ssl.SSLContext:
    """One context for all clients: making one takes 25 ms. The arguments are what it depends on."""
    return httpx2.create_ssl_context()


def _headers(endpoint: Endpoint) -> dict[str, str | Omit]:
    headers: dict[str, str | Omit] = {
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",  # compression would hold events back
        **{f"X-Stainless-{what}": Omit() for what in _TELEMETRY},
    }
    if not endpoint.official:
        # What the SDK takes from the environment is meant for OpenAI alone.
        custom = os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines()
        own = [line.partition(":")[0].strip() for line in custom if ":" in line]
        headers |= {name: Omit() for name in ("OpenAI-Organization", "OpenAI-Project", *own)}
    if endpoint.key:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    else:
        headers["Authorization"] = Omit()
    return headers | dict(endpoint.headers)


async def _raise_status(response: httpx2.Response) -> None:
    """Take errors before the SDK does, which would read a body of any size for any time."""
    if response.is_success:
        return
    body = bytearray()
    with anyio.move_on_after(ERROR_BODY_S):
        try:
            async with aclosing(response.aiter_bytes()) as pieces:
                async for piece in pieces:
                    body += piece
                    if len(body) >= LARGEST_ERROR:
                        break
        except _FAULTS:
            pass  # the status is known; what there is of the body has to do
    headers = {name.lower(): value for name, value in response.headers.items()}
    raise Status(response.status_code, headers, bytes(body[:LARGEST_ERROR]))


async def _close(response: httpx2.Response, pieces: AsyncGenerator[bytes, None]) -> None:
    try:
        await pieces.aclose()
        await response.aclose()
    except _FAULTS:
        pass  # it is closed either way


def _reason(error: BaseException, host: str) -> str:
    """What happened, for a person."""
    causes = _causes(error)
    for cause in causes:
        match cause:
            case aiohttp.ClientHttpProxyError(status=status):
                return f"the proxy answered {status} when asked for {host}"
            case aiohttp.ClientProxyConnectionError():
                return f"the proxy on the way to {host} cannot be reached; see HTTPS_PROXY"
    for cause in reversed(causes):  # the innermost knows best
        match cause:
            case ssl.SSLCertVerificationError(verify_message=why):
                return (
                    f"the certificate of {host} is not trusted ({why}); "
                    "SSL_CERT_FILE can name your own authority"
                )
            case ssl.SSLError():
                return f"TLS with {host} failed; does it speak https?"
            case socket.gaierror():
                return f"the name of {host} cannot be resolved"
            case ConnectionRefusedError():
                return f"{host} refused the connection; is the server running?"
    return f"{host} gave no answer ({type(error.__cause__ or error).__name__})"


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found

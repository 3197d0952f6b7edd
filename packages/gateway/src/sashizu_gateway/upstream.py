"""The edge: requests to the services behind the gateway. Their types and keys stay here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import anyio
import httpx2
from sashizu_core.bounds import Overhead

from sashizu_gateway.settings import Target

__all__ = ["Answer", "Unanswered", "Upstream", "open_upstream"]

CONNECT_S = 10.0
WRITE_S = 120.0

# Local servers drop idle connections after 5 s, and a request sent into that moment is lost.
KEEP_S, KEEP_SECURE_S = 4.0, 30.0

LARGEST_ERROR = 64 * 1024
"""Bytes of an error's body that are read."""

ERROR_BODY_S = 5.0

_NOT_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)


class Unanswered(Exception):
    """There is no answer, or it broke off. `sent` is False if no byte of the request went out."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class Answer:
    """An answer as it arrives. Names of headers are lower case."""

    def __init__(self, response: httpx2.Response, host: str) -> None:
        self.status = response.status_code
        self.headers: Sequence[tuple[str, str]] = [
            (name.lower(), value) for name, value in response.headers.multi_items()
        ]
        self._response = response
        self._host = host

    def header(self, name: str) -> str:
        return next((value for known, value in self.headers if known == name), "")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, piece by piece, as it was sent.

        Raises:
            Unanswered: it broke off.
        """
        try:
            async for piece in self._response.aiter_raw():
                yield piece
        except httpx2.HTTPError as error:
            raise Unanswered(f"the answer of {self._host} broke off", sent=True) from error

    async def beginning(self) -> bytes:
        """What there is of an error's body, in the time and size that it gets."""
        found = bytearray()
        with anyio.move_on_after(ERROR_BODY_S):
            try:
                async for piece in self.pieces():
                    found += piece
                    if len(found) >= LARGEST_ERROR:
                        break
            except Unanswered:
                pass  # the status is known; what there is of the body has to do
        return bytes(found[:LARGEST_ERROR])


class Upstream:
    """One service, over connections that are kept.

    `overhead` is what its bills exceeded our bounds by; `counts` is False once it has said that it
    counts no tokens.
    """

    def __init__(self, target: Target, client: httpx2.AsyncClient) -> None:
        self.target = target
        self.overhead = Overhead()
        self.counts = target.table.count is not False
        self._client = client
        self._host = urlsplit(target.base_url).netloc

    @asynccontextmanager
    async def request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[Answer]:
        """Send a request; yields the answer when its head is there. On leaving it is closed.

        Raises:
            Unanswered: there is none.
        """
        request = self._client.build_request(
            method, self.target.base_url + path, content=body, headers=dict(headers)
        )
        try:
            response = await self._client.send(request, stream=True)
        except _NOT_SENT as error:
            raise Unanswered(f"{self._host} cannot be reached", sent=False) from error
        except httpx2.HTTPError as error:
            raise Unanswered(f"{self._host} gave no answer", sent=True) from error
        try:
            yield Answer(response, self._host)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()

    def without_secrets(self, body: bytes) -> bytes:
        """What a service says of a failure, without what it was asked with."""
        for secret in self.target.secrets:
            body = body.replace(secret.encode(), b"[key]")
        return body


@asynccontextmanager
async def open_upstream(target: Target, *, idle_s: float) -> AsyncIterator[Upstream]:
    """Open a service; proxies and certificates are those of the environment."""
    secure = target.base_url.startswith("https:")
    headers = {"accept-encoding": "identity", **_key_headers(target), **dict(target.headers)}
    client = httpx2.AsyncClient(
        headers=headers,
        timeout=httpx2.Timeout(connect=CONNECT_S, read=idle_s, write=WRITE_S, pool=None),
        limits=httpx2.Limits(
            max_connections=None,
            max_keepalive_connections=256,
            keepalive_expiry=KEEP_SECURE_S if secure else KEEP_S,
        ),
        follow_redirects=False,  # the key would go along
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # clients are not one person
    )
    async with client:
        yield Upstream(target, client)


def _key_headers(target: Target) -> dict[str, str]:
    if not target.key:
        return {}
    if target.provider == "anthropic":
        return {"x-api-key": target.key}
    return {"authorization": f"Bearer {target.key}"}

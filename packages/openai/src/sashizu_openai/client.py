"""The edge: what is sent to an endpoint, and what comes back.

Bytes go in and bytes come out. OpenAI's own library would do the same, but it takes half a second
to import, and its typed layer walks every message against every type of the API on every call.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager

import anyio
from sashizu_core.errors import UsageError

from sashizu_openai.compression import CODINGS, Unpacker
from sashizu_openai.endpoints import RESERVED_HEADERS, Endpoint
from sashizu_openai.transport.connection import ERROR_BODY_S, LARGEST_ERROR, Connection
from sashizu_openai.transport.faults import FAULTS, reason
from sashizu_openai.transport.origin import split_url
from sashizu_openai.transport.pool import Pool
from sashizu_openai.transport.proxies import proxy_for
from sashizu_openai.transport.tls import trusted

__all__ = ["Body", "Client", "Failure", "Status"]

# Local servers drop idle connections after 5 s, and a request sent into that moment is lost.
_KEEP_S, _KEEP_SECURE_S = 4.0, 30.0


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

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        coding = connection.headers.get("content-encoding", "identity").strip().lower()
        self._unknown = "" if coding in ("", "identity") or coding in CODINGS else coding
        self._unpacker = Unpacker(coding) if coding in CODINGS else None
        self._unpacked: Iterator[bytes] = iter(())

    async def read(self) -> bytes | None:
        """The next piece; None at the end.

        Raises:
            Failure: the connection broke, or the compression is damaged or was not asked for.
        """
        if self._unknown:
            raise Failure(
                f"the answer is compressed in an unknown way ({self._unknown!r})", sent=True
            )
        try:
            if self._unpacker is None:
                return await self._connection.read()
            return await self._unpack(self._unpacker)
        except FAULTS as error:
            raise Failure(f"the answer broke off ({error})", sent=True) from error
        except zlib.error as error:
            raise Failure("the compression of the answer is damaged", sent=True) from error

    async def _unpack(self, unpacker: Unpacker) -> bytes | None:
        while (piece := next(self._unpacked, None)) is None:
            packed = await self._connection.read()
            if packed is None:
                return unpacker.end() or None
            self._unpacked = unpacker.take(packed)
        return piece


class Client:
    """Requests to one endpoint, over connections that are kept. Make it in the event loop.

    Raises:
        UsageError: the proxies or certificates of the environment cannot be used.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._origin, self._path = split_url(endpoint.base_url)
        proxy = proxy_for(self._origin)
        needs_tls = self._origin.secure or (proxy is not None and proxy.origin.secure)
        self._pool = Pool(
            self._origin,
            proxy,
            trusted() if needs_tls else None,
            _KEEP_SECURE_S if self._origin.secure else _KEEP_S,
        )
        headers = _headers(endpoint, self._origin.authority)
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
        if proxy is not None and not self._origin.secure:  # then it gets the request itself
            self._path = f"http://{self._origin.authority}{self._path}"
            self._lines += proxy.header

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
        head = b"POST %b HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (
            (self._path + path).encode(),
            self._lines,
            len(body),
        )
        try:
            connection = await self._pool.take()
        except FAULTS as error:
            raise Failure(reason(error, self._origin.authority), sent=False) from error
        try:
            on_connected()
            try:
                await connection.send(head, body)
            except FAULTS as error:
                raise Failure(reason(error, self._origin.authority), sent=True) from error
            answer = Body(connection)
            if not 200 <= connection.status < 300:
                raise Status(connection.status, connection.headers, await _beginning(answer))
            yield answer
        finally:
            await self._pool.give_back(connection)

    async def close(self) -> None:
        await self._pool.close()


def _headers(endpoint: Endpoint, authority: str) -> Iterable[tuple[str, str]]:
    """What every request says; of names that differ in nothing but case, the last one counts."""
    headers = [
        ("Host", authority),
        ("User-Agent", "sashizu-openai"),
        ("Accept", "text/event-stream"),
        ("Accept-Encoding", "identity"),  # compression would hold events back
        ("Content-Type", "application/json"),
    ]
    if endpoint.key:
        headers.append(("Authorization", f"Bearer {endpoint.key}"))
    if endpoint.official:
        headers += _of_environment().items()
    return {name.lower(): (name, value) for name, value in (*headers, *endpoint.headers)}.values()


def _of_environment() -> dict[str, str]:
    """What OpenAI's own library reads from the environment, and what is meant for OpenAI alone.

    Raises:
        UsageError: a value cannot be a header.
    """
    names = {"OpenAI-Organization": "OPENAI_ORG_ID", "OpenAI-Project": "OPENAI_PROJECT_ID"}
    found = {name: os.environ.get(variable, "").strip() for name, variable in names.items()}
    for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    for name, value in found.items():
        if not (name.isascii() and name.replace("-", "").isalnum()):
            raise UsageError(f"OPENAI_CUSTOM_HEADERS: {name!r} is no name of a header")
        if name.lower() in RESERVED_HEADERS:
            raise UsageError(f"OPENAI_CUSTOM_HEADERS: sashizu sets {name!r} itself; leave it out")
        if not (value.isascii() and (value.isprintable() or not value)):
            raise UsageError(f"the environment's value for {name} cannot be a header")
    return {name: value for name, value in found.items() if value}


async def _beginning(body: Body) -> bytes:
    """What there is of an error's body, in the time and size that it gets."""
    found = bytearray()
    with anyio.move_on_after(ERROR_BODY_S):
        try:
            while len(found) < LARGEST_ERROR and (piece := await body.read()) is not None:
                found += piece
        except Failure:
            pass  # the status is known; what there is of the body has to do
    return bytes(found[:LARGEST_ERROR])

"""One plain http request of a program, passed on, and its answer passed back."""

from __future__ import annotations

import anyio
from anyio.abc import ByteStream

from sashizu_sandbox.network.answers import Answer, Broken, Headers
from sashizu_sandbox.network.relaying import Limits
from sashizu_sandbox.network.requests import Incoming, RequestRefused
from sashizu_sandbox.network.tunnels import Cut
from sashizu_sandbox.network.url import Url

__all__ = ["forward"]

_OF_A_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that are for the next server only (RFC 9110, section 7.6.1)."""

_OURS = frozenset({b"host", b"content-length", b"expect"})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_END = b"0\r\n\r\n"
_WITHOUT_BODY = frozenset({204, 304})


async def forward(
    program: ByteStream, server: ByteStream, url: Url, request: Incoming, limits: Limits
) -> None:
    """Pass one request on and its answer back; both connections are of no further use then.

    Request and answer are written anew from what was read, so that no server can frame them
    differently.

    Raises:
        Broken: the server gave no answer; nothing was sent to the program.
        RequestRefused: the body of the request is framed wrongly; nothing was sent to the program.
        Cut: the answer ended too early, or is too large, after it was begun.
    """
    if request.value(b"expect") is not None:
        await program.send(_CONTINUE)
    await _send_request(server, url, request, limits)
    answer = Answer(server, to_head=request.method == "HEAD")
    try:
        with anyio.fail_after(limits.idle_s):
            await answer.read_head()
    except TimeoutError:
        raise Broken("the server gave no answer") from None
    await _send_answer(program, answer, limits, to_head=request.method == "HEAD")


def _kept(headers: Headers) -> Headers:
    """The headers that go on to the next server."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    return [
        (name, value)
        for name, value in headers
        if name not in _OF_A_HOP and name not in _OURS and name not in named
    ]


def _lines(headers: Headers) -> bytes:
    return b"".join(b"%b: %b\r\n" % header for header in headers)


async def _send_request(server: ByteStream, url: Url, request: Incoming, limits: Limits) -> None:
    length = request.value(b"content-length")
    chunked = request.value(b"transfer-encoding") is not None
    headers = [(b"Host", url.authority.encode()), *_kept(request.headers)]
    if chunked:
        headers.append((b"Transfer-Encoding", b"chunked"))
    elif length is not None:
        headers.append((b"Content-Length", b"%d" % int(length)))
    headers.append((b"Connection", b"close"))
    begin = f"{request.method} {url.target} HTTP/1.1\r\n".encode()
    body = _Body(server, limits, chunked=chunked)
    try:
        await server.send(begin + _lines(headers) + b"\r\n")
        while (piece := await _in_time(request, limits)) is not None:
            await body.send(piece)
        await body.end()
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass  # it may have answered before it closed


async def _in_time(request: Incoming, limits: Limits) -> bytes | None:
    try:
        with anyio.fail_after(limits.idle_s):
            return await request.read()
    except TimeoutError:
        raise RequestRefused(408, "the body did not come") from None


async def _send_answer(
    program: ByteStream, answer: Answer, limits: Limits, *, to_head: bool
) -> None:
    length = answer.length
    empty = answer.status in _WITHOUT_BODY
    headers = _kept(answer.headers)
    chunked = length is None and not empty and not to_head
    if chunked:
        headers.append((b"Transfer-Encoding", b"chunked"))
    elif length is not None and not empty:
        headers.append((b"Content-Length", b"%d" % length))
    headers.append((b"Connection", b"close"))
    begin = b"HTTP/1.1 %d %b\r\n" % (answer.status, answer.reason)
    await program.send(begin + _lines(headers) + b"\r\n")
    body = _Body(program, limits, chunked=chunked)
    try:
        while (piece := await _next(answer, limits)) is not None:
            await body.send(piece)
        await body.end()
    except (Broken, TimeoutError) as error:
        raise Cut("the answer ended too early") from error


async def _next(answer: Answer, limits: Limits) -> bytes | None:
    with anyio.fail_after(limits.idle_s):
        return await answer.read()


class _Body:
    """A body on its way, in chunks or not, no larger than allowed."""

    def __init__(self, target: ByteStream, limits: Limits, *, chunked: bool) -> None:
        self._target = target
        self._limits = limits
        self._chunked = chunked
        self._passed = 0

    async def send(self, piece: bytes) -> None:
        self._passed += len(piece)
        if self._passed > self._limits.bytes_:
            raise Cut(f"more than {self._limits.bytes_} bytes")
        if piece:
            await self._target.send(
                b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece
            )

    async def end(self) -> None:
        if self._chunked:
            await self._target.send(_END)

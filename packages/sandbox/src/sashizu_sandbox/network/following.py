"""One page: a GET, its redirects, each judged and dialled like the first."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import anyio
from sashizu_core.errors import ToolError

from sashizu_sandbox.network.answers import Answer, Broken
from sashizu_sandbox.network.dialling import Dialler, Judge
from sashizu_sandbox.network.url import Url, UrlRefused, join_url

__all__ = ["Caps", "FetchFailed", "Page", "get"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GZIP = 16 + zlib.MAX_WBITS
_HEADERS = (
    ("User-Agent", "sashizu"),
    ("Accept", "text/markdown, text/html;q=0.9, text/*;q=0.8, */*;q=0.5"),
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
)


class FetchFailed(ToolError):
    """There is no page: not allowed, not reached, or broken off."""


@dataclass(frozen=True, slots=True)
class Caps:
    """`bytes_` of a body, also after it was unpacked; `exchange_s` for each request."""

    bytes_: int = 1024 * 1024
    exchange_s: float = 30.0
    redirects: int = 5


@dataclass(frozen=True, slots=True)
class Page:
    """What a server answered. `before` are the URLs that led here; `body` may be `truncated`."""

    url: Url
    status: int
    content_type: str
    body: bytes
    truncated: bool
    before: tuple[Url, ...] = ()


async def get(url: Url, judge: Judge, dialler: Dialler, caps: Caps) -> Page:
    """Get a page whose URL was allowed already; every redirect is judged before it is followed.

    Raises:
        FetchFailed: a redirect is not allowed, leads from https to http, or there are too many; or
            the server's answer is broken.
        AddressRefused, Unreachable, UrlRefused: see `Dialler.open` and `parse_url`.
    """
    before: list[Url] = []
    while True:
        page, location = await _exchange(url, judge, dialler, caps)
        if location is None:
            return Page(
                url, page.status, page.content_type, page.body, page.truncated, tuple(before)
            )
        before.append(url)
        if len(before) > caps.redirects:
            raise FetchFailed(f"{before[0]} redirects more than {caps.redirects} times")
        url = await _redirected(url, location, judge)


async def _redirected(url: Url, location: bytes, judge: Judge) -> Url:
    try:
        target = join_url(url, location.decode("utf-8").strip(" \t"))
    except UnicodeDecodeError:
        raise FetchFailed(f"{url} redirects to what is no URL") from None
    except UrlRefused as error:
        raise FetchFailed(f"the redirect of {url} is not followed: {error}") from error
    if url.scheme == "https" and target.scheme != "https":
        raise FetchFailed(f"{url} redirects to {target}, which is not encrypted: not followed")
    decision = await judge(target.request)
    if not decision.allowed:
        raise FetchFailed(f"{url} redirects to {target}, which is not allowed: {decision.reason}")
    return target


async def _exchange(
    url: Url, judge: Judge, dialler: Dialler, caps: Caps
) -> tuple[Page, bytes | None]:
    """One request; the answer, and where it leads to if it is a redirect."""
    stream = await dialler.open(url.request, judge)
    lines = "".join(f"{name}: {value}\r\n" for name, value in (("Host", url.authority), *_HEADERS))
    head = f"GET {url.target} HTTP/1.1\r\n{lines}\r\n".encode()
    try:
        with anyio.fail_after(caps.exchange_s):
            await stream.send(head)
            answer = Answer(stream)
            await answer.read_head()
            location = _location(answer, url)
            body, truncated = b"", False
            if location is None:
                body, truncated = await _body(answer, caps.bytes_)
    except TimeoutError:
        raise FetchFailed(f"{url} took longer than {caps.exchange_s:g} s") from None
    except (Broken, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        why = f": {error}" if isinstance(error, Broken) else ""
        raise FetchFailed(f"{url.host} broke the connection off{why}") from error
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
    kinds = answer.values(b"content-type")
    kind = kinds[0].decode("latin-1") if kinds else ""
    return Page(url, answer.status, kind, body, truncated), location


def _location(answer: Answer, url: Url) -> bytes | None:
    locations = answer.values(b"location")
    if answer.status not in _REDIRECTS or not locations:
        return None
    if len(locations) > 1:
        raise FetchFailed(f"{url} redirects to several places")
    return locations[0]


async def _body(answer: Answer, most: int) -> tuple[bytes, bool]:
    """At most so many bytes of a body, unpacked, and whether it has more."""
    unpack = _unpacking(answer)
    body = bytearray()
    while (piece := await answer.read()) is not None:
        if unpack is None:
            body += piece
        else:
            try:
                body += unpack.decompress(piece, most + 1 - len(body))
            except zlib.error as error:
                raise Broken("its body cannot be unpacked") from error
        if len(body) > most:
            return bytes(body[:most]), True
    if unpack is not None and not unpack.eof:
        raise Broken("its body cannot be unpacked")
    return bytes(body), False


def _unpacking(answer: Answer) -> zlib._Decompress | None:
    """What unpacks a body, though nothing packed was asked for."""
    codings = b", ".join(answer.values(b"content-encoding")).strip().lower()
    if codings in (b"", b"identity"):
        return None
    if codings in (b"gzip", b"x-gzip"):
        return zlib.decompressobj(_GZIP)
    raise Broken("its body is packed, which was not asked for")

"""The only way out of a sandbox: a forward proxy that asks a judge about every connection."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as BadBase64
from dataclasses import replace
from hmac import compare_digest
from typing import Any

import anyio
from anyio.abc import ByteStream, Listener
from sashizu_core.errors import RecordError

from sashizu_sandbox.network.answers import Broken
from sashizu_sandbox.network.dialling import AddressRefused, Dialler, Judge, Unreachable
from sashizu_sandbox.network.forwarding import forward
from sashizu_sandbox.network.relaying import Limits
from sashizu_sandbox.network.requests import Incoming, RequestRefused
from sashizu_sandbox.network.tunnels import Cut, tunnel
from sashizu_sandbox.network.url import Url, UrlRefused, parse_url

__all__ = ["Limits", "serve_proxy"]

_CONNECT = re.compile(r"[^/?#@]+:[0-9]+")
_HOST = re.compile(r"[^/?#@]+")
_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
_FAREWELL_S = 2.0
_FAREWELL_BYTES = 64 * 1024


async def serve_proxy(
    listener: Listener[Any],
    judge: Judge,
    *,
    token: str,
    dialler: Dialler | None = None,
    limits: Limits | None = None,
) -> None:
    """Serve programs until cancelled. One request a connection; nothing is kept open.

    `CONNECT host:port` is judged as `https://host:port/`, as the path is hidden in it, and must
    carry TLS for that name; a plain http request is judged with its path. `token` has to come with
    each request, as the password of `Proxy-Authorization: Basic` or as a `Bearer`: it tells the
    program of one agent from others on this machine. The listener is closed at the end.

    Raises:
        ValueError: the token is empty.
        RecordError: a decision cannot be recorded; nothing more is served.
    """
    if not token:
        raise ValueError("the proxy needs a token that nobody can guess")
    proxy = _Proxy(judge, token.encode(), dialler or Dialler(), limits or Limits())
    async with listener:
        await listener.serve(proxy.handle)


class _Proxy:
    def __init__(self, judge: Judge, token: bytes, dialler: Dialler, limits: Limits) -> None:
        self._judge = judge
        self._token = token
        self._dialler = dialler
        self._limits = limits
        self._open = 0

    async def handle(self, program: ByteStream) -> None:
        """Serve one connection; whatever comes over it ends this connection and nothing else."""
        self._open += 1
        try:
            with anyio.move_on_after(self._limits.connection_s):
                await self._answered(program)
        except RecordError:
            raise
        except Exception:  # noqa: BLE001 - broken connections, and what a program can provoke
            return
        finally:
            self._open -= 1
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(program)

    async def _answered(self, program: ByteStream) -> None:
        """Serve one request; what is refused before an answer began is answered with a status."""
        try:
            await self._serve(program)
        except RequestRefused as error:
            await _refuse(program, error.status, str(error))
        except UrlRefused as error:
            await _refuse(program, 400, str(error))
        except AddressRefused as error:
            await _refuse(program, 403, str(error))
        except (Unreachable, Broken) as error:
            await _refuse(program, 502, str(error))
        except Cut:
            return

    async def _serve(self, program: ByteStream) -> None:
        if self._open > self._limits.connections:
            raise RequestRefused(503, "too many connections are open")
        request = Incoming(program)
        try:
            with anyio.fail_after(self._limits.head_s):
                if not await request.read_head(self._limits.head_bytes):
                    return
        except TimeoutError:
            raise RequestRefused(408, "the headers did not come") from None
        if not _knows_token(request.value(b"proxy-authorization"), self._token):
            raise RequestRefused(407, "the proxy's token is missing or wrong")
        url = _asked_for(request)
        asked = url.request
        if request.method == "CONNECT":
            asked = replace(asked, path="")  # what goes through a tunnel cannot be seen
        decision = await self._judge(asked)
        if not decision.allowed:
            raise RequestRefused(403, f"not allowed: {decision.reason}")
        server = await self._dialler.connect(url.request, self._judge)
        try:
            if request.method == "CONNECT":
                await tunnel(program, server, url, request.early, self._judge, self._limits)
            else:
                await forward(program, server, url, request, self._limits)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(server)


def _knows_token(header: bytes | None, token: bytes) -> bool:
    """Whether the credentials are the token; takes as long for a wrong one as for the right."""
    kind, _, value = (header or b"").strip().partition(b" ")
    given = value.strip()
    if kind.lower() == b"basic":
        try:
            given = b64decode(given, validate=True).partition(b":")[2]
        except (BadBase64, ValueError):
            given = b""
    elif kind.lower() != b"bearer":
        given = b""
    return compare_digest(given, token)


def _asked_for(request: Incoming) -> Url:
    """The URL of a request, with which its `Host` agrees.

    Raises:
        RequestRefused: it is not one that a proxy takes.
        UrlRefused: it is not understood.
    """
    try:
        target = request.target.decode("ascii")
        named = request.value(b"host")
        host = target if named is None else named.decode("ascii")
    except UnicodeDecodeError:
        raise RequestRefused(400, "the target and Host are ASCII") from None
    if request.method == "CONNECT":
        if not _CONNECT.fullmatch(target):
            raise RequestRefused(400, "CONNECT takes HOST:PORT")
        url = parse_url(f"https://{target}/")
    else:
        if not target.lower().startswith("http://") or "#" in target:
            raise RequestRefused(400, "ask for http://HOST/PATH; https goes through CONNECT")
        url = parse_url(target)
    if not _HOST.fullmatch(host):
        raise RequestRefused(400, "Host is no HOST or HOST:PORT")
    other = parse_url(f"{url.scheme}://{host}/")
    same = (other.host, other.port) == (url.host, url.port)
    if not same and not (request.method == "CONNECT" and host == url.host):
        raise RequestRefused(400, "Host is another one than that of the target")
    return url


async def _refuse(program: ByteStream, status: int, reason: str) -> None:
    """Answer with a status and a sentence, and let the program read it."""
    body = f"sashizu: {reason}\n".encode("utf-8", "replace")
    more = b'Proxy-Authenticate: Basic realm="sashizu"\r\n' if status == 407 else b""
    head = (
        b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
        b"%bConnection: close\r\n\r\n"
    ) % (status, _REASONS[status].encode(), len(body), more)
    with anyio.move_on_after(_FAREWELL_S):
        await program.send(head + body)
        await program.send_eof()
        left = _FAREWELL_BYTES  # closing while bytes are unread would take the answer back
        while left > 0:
            left -= len(await program.receive(_FAREWELL_BYTES))

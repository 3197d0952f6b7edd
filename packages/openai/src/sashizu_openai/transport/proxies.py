"""The proxies that the environment names, and the way through one."""

from __future__ import annotations

import os
import re
import sys
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import anyio
from anyio.abc import ByteStream
from sashizu_core.errors import UsageError

from sashizu_openai.transport.faults import ProxyRefused
from sashizu_openai.transport.origin import Origin, split_url

__all__ = ["Proxy", "open_tunnel", "proxy_for"]

LARGEST_HEAD = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r]")


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `authorization` is the value of its header, "" without credentials."""

    origin: Origin
    authorization: str = field(default="", repr=False)

    @property
    def header(self) -> bytes:
        """The line with the credentials, if there are any."""
        if not self.authorization:
            return b""
        return f"Proxy-Authorization: {self.authorization}\r\n".encode()


def proxy_for(origin: Origin) -> Proxy | None:
    """The proxy on the way to a server, as HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say.

    Raises:
        UsageError: the variable for this server holds something else than the URL of an HTTP
            proxy; credentials are not repeated.
    """
    if not _may_have_proxies():
        return None
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    if proxies.get("no", "").strip() == "*":
        return None
    if proxy_bypass(origin.address) or proxy_bypass(origin.host):
        return None
    kind = origin.scheme if proxies.get(origin.scheme) else "all"
    return _proxy(kind, proxies[kind]) if proxies.get(kind) else None


def _may_have_proxies() -> bool:
    """Whether it is worth asking: what asks takes longer to import than a request to make."""
    if sys.platform in ("win32", "darwin"):
        return True  # the system's own settings count there
    return any(name.lower().endswith("_proxy") and value for name, value in os.environ.items())


def _proxy(kind: str, text: str) -> Proxy:
    url = text if "://" in text else f"http://{text}"
    scheme = url.partition("://")[0]
    try:
        parts = urlsplit(url)
        origin, _ = split_url(url)
    except (ValueError, UnicodeError) as error:
        raise UsageError(
            f"{kind.upper()}_PROXY holds no URL of an HTTP proxy (its scheme is {scheme!r}); "
            "write it as http://host:port, or unset it"
        ) from error
    if parts.username is None:
        return Proxy(origin)
    person = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(origin, f"Basic {b64encode(person.encode()).decode()}")


async def open_tunnel(stream: ByteStream, proxy: Proxy, origin: Origin) -> None:
    """Have the proxy lead on to a server (RFC 9110, section 9.3.6).

    Raises:
        ProxyRefused: it does not.
    """
    target = origin.address.encode()
    await stream.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (target, target, proxy.header))
    head = bytearray()
    while b"\r\n\r\n" not in head:
        try:
            head += await stream.receive(4096)
        except (anyio.EndOfStream, anyio.BrokenResourceError) as error:
            raise ProxyRefused(0) from error
        if len(head) > LARGEST_HEAD:
            raise ProxyRefused(0)
    found = _STATUS.match(head)
    status = int(found[1]) if found else 0
    # A server waits for us to begin with TLS: what follows the head is not from it.
    if not 200 <= status < 300 or not head.endswith(b"\r\n\r\n"):
        raise ProxyRefused(status)

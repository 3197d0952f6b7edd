"""Connections to servers: a name is looked up once, and only a checked address is dialled.

Public addresses are. Another one, such as that of this machine, of its network or of the service
where clouds keep secrets, is dialled only where the operator wrote it: as the host of a server of
the settings, or in the ceiling for `net`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from socket import SOCK_STREAM

import anyio
import httpx2
from sashizu_core.addresses import canonical, why_not_public
from sashizu_core.granting import judge
from sashizu_core.grants import Grants, NetRequest

__all__ = ["CheckedTransport", "Dialled", "NotDialled", "Resolver"]

MOST_ADDRESSES = 8
"""Addresses of one name that are looked at."""

MOST_DIALLED = 3

LOOK_UP_S = 10.0

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host for a port, best first; an `OSError` if there are none."""


class NotDialled(OSError):
    """A host leads to addresses that the operator did not write."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host."""
    with anyio.fail_after(LOOK_UP_S):
        found = await anyio.getaddrinfo(host, port, type=SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Dialled:
    """Which addresses may be dialled.

    `own_host` is the host that the operator wrote, empty where the server is not the operator's;
    `chain` is that of an agent, whose ceilings may name addresses.
    """

    own_host: str
    chain: tuple[Grants, ...]
    resolve: Resolver = look_up

    async def addresses(self, request: NetRequest) -> Sequence[str]:
        """The addresses to dial for a request, best first.

        Raises:
            NotDialled: none may be.
            OSError: the name cannot be looked up.
        """
        found = await self._of(request)
        allowed = [address for address in found if self._may(address, request)]
        if not allowed:
            places = ", ".join(f"{address} ({why_not_public(address)})" for address in found)
            leads = f"{request.host} leads to " if tuple(found) != (request.host,) else ""
            raise NotDialled(
                f"{leads}{places or 'no address'}: such an address is dialled only where the "
                "operator's own settings name it, as in [mcp.NAME]"
            )
        return allowed[:MOST_DIALLED]

    async def _of(self, request: NetRequest) -> Sequence[str]:
        try:
            return (canonical(request.host),)
        except ValueError:
            found = await self.resolve(request.host, request.port)
        known: dict[str, None] = {}
        for address in found[:MOST_ADDRESSES]:
            try:
                known[canonical(address)] = None
            except ValueError:
                continue  # one with a zone, which leads to a neighbour of this machine
        return tuple(known)

    def _may(self, address: str, request: NetRequest) -> bool:
        if not why_not_public(address):
            return True
        if request.host == self.own_host and (
            address == request.host
            or (request.host == "localhost" and ip_address(address).is_loopback)
        ):
            return True
        asked = NetRequest(request.scheme, address, request.port, request.path)
        ceilings = [level for level in self.chain if level.silent_on is not None]
        return any(
            "net" not in (level.silent_on or ()) and judge(asked, level, "").allowed
            for level in ceilings
        )


class CheckedTransport(httpx2.AsyncBaseTransport):
    """Sends requests to checked addresses only, whatever a name leads to meanwhile.

    Proxies of the environment are not asked: they would look names up themselves.
    """

    def __init__(self, dialled: Dialled) -> None:
        self._dialled = dialled
        self._origins: dict[tuple[str, str, int], _Origin] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        host = url.raw_host.decode("ascii").lower().strip("[]")
        port = url.port or (443 if url.scheme == "https" else 80)
        key = (url.scheme, host, port)
        if (origin := self._origins.get(key)) is None:
            path = url.raw_path.partition(b"?")[0].decode("ascii") or "/"
            asked = NetRequest(url.scheme, host, port, path)
            try:
                addresses = await self._dialled.addresses(asked)
            except OSError as error:  # a TimeoutError is one
                why = str(error) or f"the name {host} cannot be looked up"
                raise httpx2.ConnectError(why, request=request) from error
            origin = self._origins.setdefault(
                key, _Origin(httpx2.AsyncHTTPTransport(trust_env=False), addresses)
            )
        return await origin.send(request, host)

    async def aclose(self) -> None:
        for origin in self._origins.values():
            await origin.transport.aclose()


@dataclass(slots=True)
class _Origin:
    """Where one origin is. A transport of its own: no connection serves two names."""

    transport: httpx2.AsyncHTTPTransport
    addresses: Sequence[str]

    async def send(self, request: httpx2.Request, host: str) -> httpx2.Response:
        """Send to the first address that answers; TLS is checked for the name."""
        *others, last = self.addresses
        for address in others:
            try:
                return await self._send_to(request, host, address)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing was sent
        return await self._send_to(request, host, last)

    async def _send_to(self, request: httpx2.Request, host: str, address: str) -> httpx2.Response:
        return await self.transport.handle_async_request(
            httpx2.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
        )

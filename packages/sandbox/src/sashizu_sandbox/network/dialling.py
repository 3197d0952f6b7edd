"""The one way to a server: its name is looked up once, and only a checked address is dialled."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from socket import SOCK_STREAM

import anyio
from anyio.abc import ByteStream, SocketStream
from anyio.streams.tls import TLSStream
from sashizu_core.addresses import canonical, why_not_public
from sashizu_core.errors import ToolError
from sashizu_core.grants import NetRequest
from sashizu_core.types import Decision

from sashizu_sandbox.network.trust import trusted

__all__ = ["AddressRefused", "Dialler", "Judge", "Resolver", "Unreachable", "look_up"]

Judge = Callable[[NetRequest], Awaitable[Decision]]
"""Decides on one connection, and records the decision."""

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host for a port, best first; an `OSError` if there are none."""

MOST_ADDRESSES = 8
"""Addresses of one name that are looked at."""

MOST_DIALLED = 3


class AddressRefused(ToolError):
    """A name leads to addresses that nobody listed."""


class Unreachable(ToolError):
    """There is no connection to a server; nothing of a request was sent."""


async def look_up(host: str, port: int) -> Sequence[str]:
    """Ask the system for the addresses of a host."""
    found = await anyio.getaddrinfo(host, port, type=SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True, slots=True)
class Dialler:
    """Opens connections to servers that a judge has allowed already.

    `resolve` is asked once for each connection, never for a host that is an address. `connect_s`
    are the seconds for each of looking up, connecting and TLS.
    """

    resolve: Resolver = look_up
    tls: Callable[[], ssl.SSLContext] = trusted
    connect_s: float = 10.0

    async def connect(self, request: NetRequest, judge: Judge) -> SocketStream:
        """Connect, without TLS.

        Raises:
            AddressRefused: no address may be dialled.
            Unreachable: none can be.
        """
        addresses = await self._allowed(request, judge)
        last: OSError | None = None
        for address in addresses[:MOST_DIALLED]:
            try:
                with anyio.fail_after(self.connect_s):
                    return await anyio.connect_tcp(address, request.port)
            except (OSError, TimeoutError) as error:
                last = error
        why = "it took too long" if isinstance(last, TimeoutError) else "nobody answers there"
        raise Unreachable(f"no connection to {request.host}, port {request.port}: {why}") from last

    async def open(self, request: NetRequest, judge: Judge) -> ByteStream:
        """Connect, with TLS for https; the certificate must be one for the host.

        Raises:
            AddressRefused, Unreachable: see `connect`; TLS that fails is `Unreachable` as well.
        """
        context = self.tls() if request.scheme == "https" else None
        stream = await self.connect(request, judge)
        if context is None:
            return stream
        try:
            with anyio.fail_after(self.connect_s):
                return await TLSStream.wrap(
                    stream,
                    server_side=False,
                    hostname=request.host,
                    ssl_context=context,
                    standard_compatible=False,  # HTTP's own framing tells where an answer ends
                )
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
            if isinstance(error, (OSError, anyio.BrokenResourceError, anyio.EndOfStream)):
                raise Unreachable(f"TLS with {request.host} failed: {_tls_fault(error)}") from error
            raise

    # --- addresses --------------------------------------------------------------------------------

    async def _allowed(self, request: NetRequest, judge: Judge) -> Sequence[str]:
        """The addresses to dial.

        That of a host which is an address was judged with the request itself. A name leads to
        public addresses; to another one only if that is allowed as a host of its own.
        """
        if _is_address(request.host):
            return (request.host,)
        found = await self._look_up(request)
        public = [address for address in found if not why_not_public(address)]
        if public:
            return public
        listed: list[str] = []
        for address in found:
            own = NetRequest(request.scheme, address, request.port, request.path)
            if (await judge(own)).allowed:
                listed.append(address)
        if not listed:
            places = ", ".join(f"{address} ({why_not_public(address)})" for address in found)
            raise AddressRefused(
                f"{request.host} leads to {places or 'no address'}: such addresses are dialled "
                "only if a grant lists them as they are"
            )
        return listed

    async def _look_up(self, request: NetRequest) -> Sequence[str]:
        try:
            with anyio.fail_after(self.connect_s):
                answer = await self.resolve(request.host, request.port)
        except (OSError, UnicodeError) as error:  # a TimeoutError is an OSError
            raise Unreachable(f"the name {request.host} cannot be looked up") from error
        found: dict[str, None] = {}
        for address in answer[:MOST_ADDRESSES]:
            try:
                found[canonical(address)] = None
            except ValueError:
                continue  # one with a zone, which leads to a neighbour of this machine
        return tuple(found)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _tls_fault(error: BaseException) -> str:
    cause = error.__cause__ if isinstance(error, anyio.BrokenResourceError) else error
    match cause:
        case ssl.SSLCertVerificationError(verify_message=why):
            return f"its certificate is not trusted ({why})"
        case TimeoutError():
            return "it took too long"
        case _:
            return "it does not speak TLS as we do"

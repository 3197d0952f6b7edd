"""Which addresses are public, and what is dialled when a name leads to several."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import ByteStream, Listener, SocketAttribute
from anyio.streams.tls import TLSListener
from hypothesis import given
from hypothesis import strategies as st
from sashizu_core.addresses import canonical, why_not_public
from sashizu_core.grants import Grants, NetRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.types import Decision
from sashizu_sandbox.network.dialling import AddressRefused, Dialler, Unreachable

CORPUS = Path(__file__).parent / "url_corpus"
SSRFCHECK = json.loads((CORPUS / "ssrfcheck.json").read_text(encoding="utf-8"))

OWN = json.loads((CORPUS / "addresses.json").read_text(encoding="utf-8"))


# --- which are public -----------------------------------------------------------------------------


@pytest.mark.parametrize("address", OWN["not_public"])
def test_an_address_that_is_not_of_a_public_server_is_refused_with_a_reason(address: str) -> None:
    assert why_not_public(address)


@pytest.mark.parametrize("address", [*OWN["public"], *SSRFCHECK["public_addresses"]])
def test_an_address_of_a_public_server_is_dialled(address: str) -> None:
    assert why_not_public(address) == ""


ADDRESSES = st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address)


@given(ADDRESSES)
def test_nothing_is_public_that_the_standard_library_calls_private(
    address: IPv4Address | IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast:
        assert why_not_public(str(address))


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(
        ["::", "::ffff:0:0", "::ffff:0:0:0", "64:ff9b::", "64:ff9b:1::", "64:ff9b:1:7::"]
    ),
)
def test_no_ipv4_address_is_public_once_it_is_embedded(number: int, prefix: str) -> None:
    assert why_not_public(str(IPv6Address(int(IPv6Address(prefix)) | number)))


@given(st.integers(0, 2**32 - 1))
def test_no_tunnel_to_an_ipv4_address_is_public(number: int) -> None:
    six_to_four = IPv6Address((0x2002 << 112) | (number << 80) | 1)
    teredo = IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF))
    isatap = IPv6Address((0x2A00 << 112) | (0x5EFE << 32) | number)
    assert all(why_not_public(str(address)) for address in (six_to_four, teredo, isatap))


@given(ADDRESSES)
def test_an_address_has_one_spelling(address: IPv4Address | IPv6Address) -> None:
    text = canonical(str(address))
    assert canonical(text) == text
    assert ip_address(text) == address
    assert canonical(address.exploded) == text
    assert "." not in text or isinstance(address, IPv4Address)


# --- what is dialled ------------------------------------------------------------------------------


class Names:
    """A resolver: one answer after the other, the last for ever; `asked` are the calls."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


class Judged:
    """The judge of somebody with these grants; `decisions` are what it said."""

    def __init__(self, *net: str) -> None:
        self._subject = Subject("agent", "tester", (Grants(net=net),))
        self.decisions: list[tuple[NetRequest, Decision]] = []

    async def __call__(self, request: NetRequest) -> Decision:
        decision = authorize((request,), self._subject)
        self.decisions.append((request, decision))
        return decision


async def nobody(request: NetRequest) -> Decision:
    return Decision("deny", "nobody")


@asynccontextmanager
async def greeting(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server on 127.0.0.1 that says hello and hangs up."""
    listener: Listener[Any] = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = int(listener.extra(SocketAttribute.local_port))
    if tls is not None:
        listener = TLSListener(listener, ssl_context=tls, standard_compatible=False)

    async def greet(stream: ByteStream) -> None:
        async with stream:
            await stream.send(b"hello")

    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, greet)
        yield port
        group.cancel_scope.cancel()


async def test_a_name_that_leads_inward_is_dialled_only_if_the_address_is_listed_too() -> None:
    async with greeting() as port:
        request = NetRequest("http", "inward.example", port, "/")
        dialler = Dialler(resolve=Names(["127.0.0.1"]))
        name = f"http://inward.example:{port}"
        with pytest.raises(AddressRefused, match=r"127\.0\.0\.1 \(loopback\)"):
            await dialler.connect(request, Judged(name, f"http://*:{port}"))
        async with await dialler.connect(
            request, Judged(name, f"http://127.0.0.1:{port}")
        ) as stream:
            assert await stream.receive() == b"hello"


async def test_the_refused_address_is_judged_and_so_recorded() -> None:
    judge = Judged("*")
    with pytest.raises(AddressRefused):
        await Dialler(resolve=Names(["169.254.169.254"])).connect(
            NetRequest("https", "example.com", 443, "/"), judge
        )
    assert [(request.host, decision.verdict) for request, decision in judge.decisions] == [
        ("169.254.169.254", "deny")
    ]


async def test_a_name_is_looked_up_once_and_the_address_that_was_checked_is_dialled() -> None:
    async with greeting() as port:
        rebinding = Names(["127.0.0.1"], ["169.254.169.254"])
        judge = Judged(f"http://rebinding.example:{port}", f"http://127.0.0.1:{port}")
        request = NetRequest("http", "rebinding.example", port, "/")
        async with await Dialler(resolve=rebinding).connect(request, judge) as stream:
            assert stream.extra(SocketAttribute.remote_address) == ("127.0.0.1", port)
        assert rebinding.asked == [("rebinding.example", port)]
        with pytest.raises(AddressRefused, match="metadata"):
            await Dialler(resolve=rebinding).connect(request, judge)


@pytest.mark.parametrize(
    "answer",
    [
        ["10.0.0.1", "127.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["fd00:ec2::254"],
        ["fe80::1%eth0"],
        ["nonsense"],
        [],
    ],
)
async def test_no_answer_of_a_resolver_leads_inward(answer: list[str]) -> None:
    with pytest.raises(AddressRefused):
        await Dialler(resolve=Names(answer)).connect(
            NetRequest("https", "example.com", 443, "/"), Judged("*", "example.com")
        )


async def test_a_host_that_is_an_address_is_never_looked_up() -> None:
    async with greeting() as port:
        names = Names(["10.0.0.1"])
        request = NetRequest("http", "127.0.0.1", port, "/")
        await (await Dialler(resolve=names).connect(request, nobody)).aclose()
        assert names.asked == []


async def test_a_name_without_an_address_is_unreachable() -> None:
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    with pytest.raises(Unreachable, match=r"example\.com cannot be looked up"):
        await Dialler(resolve=unknown).connect(
            NetRequest("https", "example.com", 443, "/"), Judged("*")
        )


async def test_a_resolver_that_never_answers_is_not_waited_for() -> None:
    async def silent(host: str, port: int) -> Sequence[str]:
        await anyio.sleep_forever()
        return []

    with pytest.raises(Unreachable), anyio.fail_after(5):
        await Dialler(resolve=silent, connect_s=0.01).connect(
            NetRequest("https", "example.com", 443, "/"), Judged("*")
        )


async def test_a_port_where_nobody_listens_is_unreachable() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = int(listener.extra(SocketAttribute.local_port))
    with pytest.raises(Unreachable, match=f"127.0.0.1, port {port}"):
        await Dialler().connect(NetRequest("http", "127.0.0.1", port, "/"), nobody)


# --- TLS ------------------------------------------------------------------------------------------


async def anybody(request: NetRequest) -> Decision:
    return Decision("allow", "a test")


@pytest.mark.parametrize(
    ("certified", "trusting", "good"),
    [("good.example", True, True), ("other.example", True, False), ("good.example", False, False)],
)
async def test_the_certificate_must_be_one_for_the_host_and_trusted(
    certified: str, trusting: bool, good: bool
) -> None:
    ca = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(certified).configure_cert(server)
    client = ssl.create_default_context()
    (ca if trusting else trustme.CA()).configure_trust(client)
    async with greeting(server) as port:
        request = NetRequest("https", "good.example", port, "/")
        dialler = Dialler(resolve=Names(["127.0.0.1"]), tls=lambda: client)
        if good:
            async with await dialler.open(request, anybody) as stream:
                assert await stream.receive() == b"hello"
        else:
            with pytest.raises(Unreachable, match="certificate is not trusted"):
                await dialler.open(request, anybody)


async def test_a_server_that_speaks_no_tls_is_unreachable() -> None:
    async with greeting() as port:
        with pytest.raises(Unreachable, match="TLS with 127"):
            await Dialler().open(NetRequest("https", "127.0.0.1", port, "/"), nobody)

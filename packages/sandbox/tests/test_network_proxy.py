"""The proxy, spoken to by programs that behave as badly as a test wants."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import trustme
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSListener, TLSStream
from sashizu_core.errors import RecordError
from sashizu_core.grants import Grants, NetRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.types import Decision
from sashizu_sandbox.network.dialling import Dialler
from sashizu_sandbox.network.proxy import Limits, serve_proxy

TOKEN = "a-token-that-nobody-guesses"
AUTH = b"Proxy-Authorization: Basic " + b64encode(f"agent:{TOKEN}".encode()) + b"\r\n"
SOON_S = 5.0
_END = b"0\r\n\r\n"

Handler = Callable[[ByteStream], Awaitable[None]]


class Lab:
    """A server, a proxy before it, and what they were asked."""

    def __init__(self) -> None:
        self.server = 0
        self.proxy = 0
        self.received: list[bytes] = []
        self.judged: list[tuple[NetRequest, Decision]] = []

    def host(self, name: str = "127.0.0.1") -> bytes:
        return f"{name}:{self.server}".encode()

    async def connect(self) -> SocketStream:
        return await anyio.connect_tcp("127.0.0.1", self.proxy)

    async def ask(self, data: bytes) -> bytes:
        """Everything that comes back for some bytes, until the proxy hangs up."""
        async with await self.connect() as stream:
            with anyio.fail_after(SOON_S):
                await stream.send(data)
                return await rest_of(stream)

    async def status(self, data: bytes) -> int:
        """The status of the answer; 0 for none."""
        answer = await self.ask(data)
        return int(answer.split(b" ")[1]) if answer else 0

    async def get(self, path: str = "/", headers: bytes = AUTH) -> bytes:
        host = self.host()
        return await self.ask(
            b"GET http://%b%b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (host, path.encode(), host, headers)
        )


async def rest_of(stream: ByteStream) -> bytes:
    data = b""
    try:
        while True:
            data += await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return data


async def inward(host: str, port: int) -> Sequence[str]:
    return ["169.254.169.254"] if host == "metadata.example" else ["127.0.0.1"]


@asynccontextmanager
async def lab(
    answer: bytes | Handler = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    *,
    net: Sequence[str] = (),
    limits: Limits | None = None,
    tls: ssl.SSLContext | None = None,
    judge: Callable[[NetRequest], Awaitable[Decision]] | None = None,
) -> AsyncIterator[Lab]:
    """A proxy for somebody who may reach the server by its address and as `named.example`."""
    found = Lab()
    server: Any = await anyio.create_tcp_listener(local_host="127.0.0.1")
    found.server = int(server.extra(SocketAttribute.local_port))
    if tls is not None:
        server = TLSListener(server, ssl_context=tls, standard_compatible=False)
    proxy = await anyio.create_tcp_listener(local_host="127.0.0.1")
    found.proxy = int(proxy.extra(SocketAttribute.local_port))
    port = found.server
    own = [f"{scheme}://127.0.0.1:{port}" for scheme in ("http", "https")]
    own += [f"{scheme}://named.example:{port}/*" for scheme in ("http", "https")]
    granted = [pattern.replace("PORT", str(port)) for pattern in net] or own
    subject = Subject("agent", "tester", (Grants(net=tuple(granted)),))

    async def by_grants(request: NetRequest) -> Decision:
        decision = authorize((request,), subject)
        found.judged.append((request, decision))
        return decision

    async def serve(stream: ByteStream) -> None:
        async with stream:
            if callable(answer):
                await answer(stream)
                return
            try:
                found.received.append(await whole_request(stream))
                await stream.send(answer)
            except (anyio.IncompleteRead, anyio.BrokenResourceError):
                return

    async def run_proxy() -> None:
        await serve_proxy(
            proxy,
            judge or by_grants,
            token=TOKEN,
            dialler=Dialler(resolve=inward),
            limits=limits,
        )

    async with server, anyio.create_task_group() as group:
        group.start_soon(server.serve, serve)
        group.start_soon(run_proxy)
        yield found
        group.cancel_scope.cancel()


async def whole_request(stream: ByteStream) -> bytes:
    """A request with a body of a known length, or in chunks."""
    reader = BufferedByteReceiveStream(stream)
    head = await reader.receive_until(b"\r\n\r\n", 1 << 20)
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        return head + b"\r\n\r\n" + await reader.receive_until(_END, 1 << 20) + _END
    length = lower.partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0"
    return head + b"\r\n\r\n" + await reader.receive_exactly(int(length))


# --- plain http -----------------------------------------------------------------------------------


async def test_an_allowed_request_is_passed_on_without_what_is_for_the_proxy() -> None:
    async with lab() as found:
        answer = await found.get(
            "/a/../b?q=1",
            AUTH
            + b"X-Kept: yes\r\nX-Named: no\r\nConnection: keep-alive, X-Named\r\nKeep-Alive: 5\r\n"
            + b"Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\n",
        )
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nhi")
        assert found.received == [
            b"GET /b?q=1 HTTP/1.1\r\nHost: %b\r\nx-kept: yes\r\nConnection: close\r\n\r\n"
            % found.host()
        ]
        assert [(request.path, decision.verdict) for request, decision in found.judged] == [
            ("/b", "allow")
        ]


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 5\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    ],
)
async def test_a_body_arrives_however_it_was_framed(body: bytes) -> None:
    async with lab() as found:
        host = found.host()
        answer = await found.ask(
            b"POST http://%b/ HTTP/1.1\r\nHost: %b\r\n" % (host, host) + AUTH + body
        )
        assert b"HTTP/1.1 200 OK\r\n" in answer
        (received,) = found.received
        assert b"trailer" not in received.lower()
        assert received.endswith((b"\r\n\r\nhello", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhi",
        b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    ],
)
async def test_an_answer_comes_back_however_it_was_framed(answer: bytes) -> None:
    async with lab(answer) as found:
        back = await found.get()
        assert back.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"hi" in back
        assert b"Link" not in back


async def test_an_answer_to_head_has_its_length_and_no_body() -> None:
    async with lab(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n") as found:
        host = found.host()
        answer = await found.ask(
            b"HEAD http://%b/ HTTP/1.1\r\nHost: %b\r\n" % (host, host) + AUTH + b"\r\n"
        )
        assert b"Content-Length: 999\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")


async def test_a_second_answer_in_the_same_stream_is_dropped() -> None:
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    async with lab(
        good + b"HTTP/1.1 200 OK\r\nX-Poison: 1\r\nContent-Length: 4\r\n\r\nevil"
    ) as found:
        answer = await found.get()
        assert answer.endswith(b"\r\n\r\nhi")
        assert b"Poison" not in answer


# --- who and where --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"Proxy-Authorization: Basic\r\n",
        b"Proxy-Authorization: Basic " + b64encode(b"agent:wrong") + b"\r\n",
        b"Proxy-Authorization: Basic " + b64encode(TOKEN.encode()) + b"\r\n",
        b"Proxy-Authorization: Basic " + b64encode(f"{TOKEN}:".encode()) + b"\r\n",
        b"Proxy-Authorization: Basic !!!\r\n",
        b"Proxy-Authorization: Bearer wrong\r\n",
        b"Proxy-Authorization: Bearer\r\n",
        b"Proxy-Authorization: Digest " + TOKEN.encode() + b"\r\n",
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\n",
    ],
)
async def test_nobody_is_served_without_the_token(header: bytes) -> None:
    async with lab() as found:
        answer = await found.get(headers=header)
        assert answer.startswith(b"HTTP/1.1 407 ")
        assert TOKEN.encode() not in answer
        assert found.judged == []
        assert found.received == []


async def test_the_token_may_come_as_a_bearer() -> None:
    async with lab() as found:
        header = b"Proxy-Authorization: Bearer " + TOKEN.encode() + b"\r\n"
        assert (await found.get(headers=header)).startswith(b"HTTP/1.1 200 ")
        assert b"roxy-" not in found.received[0]


async def test_a_proxy_without_a_token_is_not_served() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        with pytest.raises(ValueError, match="token"):
            await serve_proxy(listener, deny_all, token="")


async def deny_all(request: NetRequest) -> Decision:
    return Decision("deny", "a test")


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("http://127.0.0.1:PORT/v2/x", 403),
        ("http://127.0.0.1:PORT/v1/../v2", 403),
        ("http://127.0.0.1:PORT/v1/..%2fv2", 400),
        ("http://127.0.0.1:1/v1/x", 403),
        ("http://127.1:PORT/v1/x", 400),
        ("http://2130706433:PORT/v1/x", 400),
        ("http://[::ffff:127.0.0.1]:PORT/v1/x", 403),
        ("http://localhost:PORT/v1/x", 403),
        ("http://169.254.169.254/latest/meta-data/", 403),
        ("http://metadata.example/", 403),
        ("http://user@127.0.0.1:PORT/v1/x", 400),
        ("https://127.0.0.1:PORT/v1/x", 400),
        ("ftp://127.0.0.1:PORT/v1/x", 400),
        ("/v1/x", 400),
        ("*", 400),
        ("127.0.0.1:PORT", 400),
        ("http://127.0.0.1:PORT/v1/x#y", 400),
        ("http://127.0.0.1:PORT/v1/x", 200),
    ],
)
async def test_only_what_is_granted_is_reached(target: str, status: int) -> None:
    async with lab(net=["http://127.0.0.1:PORT/v1/*", "http://metadata.example"]) as found:
        target = target.replace("PORT", str(found.server))
        host = target.partition("//")[2].partition("/")[0].rpartition("@")[2] or "127.0.0.1"
        request = f"GET {target} HTTP/1.1\r\nHost: {host}\r\n".encode() + AUTH + b"\r\n"
        assert await found.status(request) == status
        assert bool(found.received) == (status == 200)


async def test_a_refusal_says_why_and_was_judged() -> None:
    async with lab() as found:
        answer = await found.ask(
            b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n" + AUTH + b"\r\n"
        )
        assert b"not allowed: tester may not connect to 'http://evil.example:80/'" in answer
        assert [decision.verdict for _, decision in found.judged] == ["deny"]


@pytest.mark.parametrize(
    "host", [b"evil.example", b"127.0.0.1", b"127.0.0.1:1", b"a/b", b"a@b", b"", b"127.1:PORT"]
)
async def test_the_host_header_must_be_that_of_the_target(host: bytes) -> None:
    async with lab() as found:
        host = host.replace(b"PORT", str(found.server).encode())
        request = b"GET http://%b/ HTTP/1.1\r\nHost: %b\r\n" % (found.host(), host)
        assert await found.status(request + AUTH + b"\r\n") == 400
        assert found.received == []


# --- framing --------------------------------------------------------------------------------------

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "tail",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n" + SMUGGLED,
        b"Content-Length: 40\r\nContent-Length: 40\r\n\r\n" + SMUGGLED,
        b"Content-Length: 0, 40\r\n\r\n" + SMUGGLED,
        b"Content-Length: +40\r\n\r\n" + SMUGGLED,
        b"Content-Length: 0x28\r\n\r\n" + SMUGGLED,
        b"Content-Length: -1\r\n\r\n" + SMUGGLED,
        b"Content-Length: 4 0\r\n\r\n" + SMUGGLED,
        b"Content-Length : 0\r\n\r\n" + SMUGGLED,
        b"Content-Length\t: 0\r\n\r\n" + SMUGGLED,
        b"Content-Length: 99999999999999999999\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: xchunked\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: identity\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        b"X: y\x00\r\n\r\n",
        b"X y\r\n\r\n",
        b": y\r\n\r\n",
        b"X\xff: y\r\n\r\n",
        b"Host: other\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + SMUGGLED,
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"Content-Length: 3\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc",
        b"Expect: evil\r\nContent-Length: 0\r\n\r\n",
        b"\r\n" + SMUGGLED,
    ],
)
async def test_no_request_can_be_framed_in_two_ways(tail: bytes) -> None:
    async with lab() as found:
        head = b"POST http://%b/ HTTP/1.1\r\nHost: %b\r\n" % (found.host(), found.host())
        status = await found.status(head + AUTH + tail)
        assert 400 <= status < 600
        assert all(b"smuggled" not in request for request in found.received)


@pytest.mark.parametrize(
    "line",
    [
        b"GET  http://HOST/ HTTP/1.1",
        b"GET http://HOST/ HTTP/1.0",
        b"GET http://HOST/ HTTP/2.0",
        b"GET http://HOST/ HTTP/0.9",
        b"GET http://HOST/",
        b"GET http://HOST/ x HTTP/1.1",
        b"TRACE http://HOST/ HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"get http://HOST/ HTTP/1.1",
        b"G\x00T http://HOST/ HTTP/1.1",
        b"GET http://HOST/\x80 HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01",
    ],
)
async def test_what_is_no_request_of_http_1_1_is_refused(line: bytes) -> None:
    async with lab() as found:
        line = line.replace(b"HOST", found.host())
        status = await found.status(line + b"\r\nHost: %b\r\n" % found.host() + AUTH + b"\r\n")
        assert 400 <= status < 600
        assert found.received == []


async def test_a_request_is_served_alone_on_its_connection() -> None:
    async with lab() as found:
        host = found.host()
        one = b"GET http://%b/one HTTP/1.1\r\nHost: %b\r\n" % (host, host) + AUTH + b"\r\n"
        assert await found.status(one + one.replace(b"/one", b"/two")) == 400
        assert found.received == []
        async with await found.connect() as stream:
            with anyio.fail_after(SOON_S):
                await stream.send(one)
                assert b"Connection: close\r\n" in await rest_of(stream)
        assert len(found.received) == 1


# --- caps -----------------------------------------------------------------------------------------


async def test_headers_without_end_are_not_read_on() -> None:
    async with lab(limits=Limits(head_bytes=4096)) as found:
        assert (await found.get(headers=AUTH + b"X: " + b"y" * 8000 + b"\r\n")).startswith(
            b"HTTP/1.1 431 "
        )


async def test_a_slow_program_is_not_waited_for() -> None:
    async with lab(limits=Limits(head_s=0.05)) as found, await found.connect() as stream:
        with anyio.fail_after(SOON_S):
            await stream.send(b"GET http://")
            assert (await rest_of(stream)).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async with lab(limits=Limits(idle_s=0.05)) as found:
        host = found.host()
        head = b"POST http://%b/ HTTP/1.1\r\nHost: %b\r\nContent-Length: 9\r\n" % (host, host)
        assert await found.status(head + AUTH + b"\r\nhalf") == 408


async def test_a_server_that_says_nothing_is_not_waited_for() -> None:
    async def silent(stream: ByteStream) -> None:
        await anyio.sleep_forever()

    async with lab(silent, limits=Limits(idle_s=0.05)) as found:
        assert (await found.get()).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 100 Go on\r\n\r\n" * 8000,
        b"HTTP/1.1 101 Other\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nraw",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_a_server_that_speaks_no_http_is_a_bad_gateway(answer: bytes) -> None:
    async with lab(answer) as found:
        assert (await found.get()).startswith(b"HTTP/1.1 502 ")


async def test_an_answer_that_is_too_large_is_cut() -> None:
    async def endless(stream: ByteStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send(b"x" * 65536)

    async with lab(swallowing(endless), limits=Limits(bytes_=1 << 20)) as found:
        answer = await found.get()
        assert len(answer) <= (1 << 20) + 65536
        assert not answer.endswith(b"0\r\n\r\n"), "a cut answer must not look whole"


def swallowing(handler: Handler) -> Handler:
    """A handler whose connection may break."""

    async def handle(stream: ByteStream) -> None:
        try:
            await handler(stream)
        except (anyio.BrokenResourceError, anyio.EndOfStream):
            return

    return handle


async def test_an_answer_that_ends_too_early_does_not_look_whole() -> None:
    async with lab(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel") as found:
        assert not (await found.get()).endswith(b"0\r\n\r\n")


async def test_no_more_connections_are_served_than_allowed() -> None:
    async with lab(limits=Limits(connections=1)) as found, await found.connect() as first:
        await first.send(b"GET ")
        while not (answer := await found.get()).startswith(b"HTTP/1.1 503 "):
            assert answer.startswith(b"HTTP/1.1 200 ")
            await anyio.lowlevel.checkpoint()


async def test_a_connection_ends_when_its_time_is_over() -> None:
    limits = Limits(connection_s=0.05)
    async with lab(limits=limits) as found, await found.connect() as stream:
        with anyio.fail_after(SOON_S):
            assert await rest_of(stream) == b""


async def test_a_judge_that_fails_ends_the_connection_and_not_the_proxy() -> None:
    async def broken(request: NetRequest) -> Decision:
        raise KeyError("a bug")

    async with lab(judge=broken) as found:
        assert await found.get() == b""
        assert await found.get() == b""


async def test_nothing_is_served_once_decisions_cannot_be_recorded() -> None:
    async def unrecorded(request: NetRequest) -> Decision:
        raise RecordError("the disk is full")

    with pytest.RaisesGroup(RecordError, flatten_subgroups=True):
        async with lab(judge=unrecorded) as found:
            await found.get()
            await anyio.sleep_forever()


# --- tunnels --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


def server_context(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(*names).configure_cert(context)
    return context


async def echo(stream: ByteStream) -> None:
    await stream.send(b"you said " + await stream.receive())


async def tunnel(found: Lab, name: str) -> SocketStream:
    """A connection through the proxy, before TLS."""
    stream = await found.connect()
    host = found.host(name)
    await stream.send(b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (host, host) + AUTH + b"\r\n")
    answer = await stream.receive()
    assert answer == b"HTTP/1.1 200 Connection established\r\n\r\n", answer
    return stream


async def encrypted(stream: SocketStream, ca: trustme.CA, name: str | None) -> TLSStream:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if name is None:
        context.check_hostname = False
    return await TLSStream.wrap(
        stream,
        server_side=False,
        hostname=name,
        ssl_context=context,
        standard_compatible=False,
    )


@pytest.mark.parametrize("name", ["named.example", "127.0.0.1"])
async def test_tls_for_the_allowed_host_goes_through(ca: trustme.CA, name: str) -> None:
    async with lab(
        echo,
        net=[f"https://{name}:PORT", "https://127.0.0.1:PORT"],
        tls=server_context(ca, name),
    ) as found:
        with anyio.fail_after(SOON_S):
            stream = await encrypted(await tunnel(found, name), ca, name)
            await stream.send(b"hello")
            assert await stream.receive() == b"you said hello"
            await stream.aclose()
        first = found.judged[0][0]
        assert (first.scheme, first.host, first.path) == ("https", name, "")


@pytest.mark.parametrize("asked", ["other.example", "sub.named.example", None])
async def test_a_tunnel_for_another_name_is_cut(ca: trustme.CA, asked: str | None) -> None:
    reached = False

    async def note(stream: ByteStream) -> None:
        nonlocal reached
        reached = True

    async with lab(
        note,
        net=["https://named.example:PORT", "https://127.0.0.1:PORT"],
        tls=server_context(ca, "named.example", "other.example", "sub.named.example"),
    ) as found:
        async with await tunnel(found, "named.example") as stream:
            with (
                anyio.fail_after(SOON_S),
                pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream, OSError)),
            ):
                await encrypted(stream, ca, asked)
        assert not reached
        if asked is not None:
            request, decision = found.judged[-1]
            assert (request.host, decision.verdict) == (asked, "deny")


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x00"]
)
async def test_what_is_no_tls_is_cut(data: bytes) -> None:
    received: list[bytes] = []

    async def note(stream: ByteStream) -> None:
        received.append(await rest_of(stream))

    async with lab(note) as found, await tunnel(found, "127.0.0.1") as stream:
        with anyio.fail_after(SOON_S):
            await stream.send(data)
            assert await rest_of(stream) == b""
            while not received:
                await anyio.lowlevel.checkpoint()
        assert received == [b""]


async def test_a_tunnel_in_which_nothing_is_said_is_cut() -> None:
    async def wait(stream: ByteStream) -> None:
        await rest_of(stream)

    limits = Limits(head_s=0.05)
    async with lab(wait, limits=limits) as found, await tunnel(found, "127.0.0.1") as stream:
        with anyio.fail_after(SOON_S):
            await stream.send(b"\x16\x03\x01")
            assert await rest_of(stream) == b""


@pytest.mark.parametrize("limits", [Limits(idle_s=0.1), Limits(bytes_=20_000)])
async def test_a_tunnel_ends_at_its_limits(ca: trustme.CA, limits: Limits) -> None:
    async def talk(stream: ByteStream) -> None:
        if limits.idle_s < 1:
            await rest_of(stream)
        while True:
            await stream.send(b"x" * 4096)

    async with lab(swallowing(talk), tls=server_context(ca, "127.0.0.1"), limits=limits) as found:
        with anyio.fail_after(SOON_S):
            stream = await encrypted(await tunnel(found, "127.0.0.1"), ca, "127.0.0.1")
            try:
                assert len(await rest_of(stream)) < 40_000
            except ssl.SSLError:
                pass  # the cut came in the middle of a record
            finally:
                await anyio.aclose_forcefully(stream)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("CONNECT evil.example:443 HTTP/1.1", 403),
        ("CONNECT 169.254.169.254:443 HTTP/1.1", 403),
        ("CONNECT metadata.example:443 HTTP/1.1", 403),
        ("CONNECT 127.0.0.1:22 HTTP/1.1", 403),
        ("CONNECT 127.1:443 HTTP/1.1", 400),
        ("CONNECT 127.0.0.1 HTTP/1.1", 400),
        ("CONNECT 127.0.0.1:443/x HTTP/1.1", 400),
        ("CONNECT user@127.0.0.1:443 HTTP/1.1", 400),
        ("CONNECT https://127.0.0.1:443 HTTP/1.1", 400),
        ("CONNECT [::1]:443 HTTP/1.1", 403),
        ("CONNECT evil.example:443 HTTP/1.0", 403),
    ],
)
async def test_connect_goes_only_where_it_is_granted(request_line: str, status: int) -> None:
    async with lab(net=["https://127.0.0.1:PORT", "metadata.example"]) as found:
        host = "" if "1.0" in request_line else f"Host: {request_line.split(' ')[1]}\r\n"
        assert await found.status(f"{request_line}\r\n{host}".encode() + AUTH + b"\r\n") == status


async def test_a_connect_whose_host_header_differs_is_refused() -> None:
    async with lab() as found:
        request = b"CONNECT %b HTTP/1.1\r\nHost: evil.example:443\r\n" % found.host()
        assert await found.status(request + AUTH + b"\r\n") == 400
        assert found.judged == []

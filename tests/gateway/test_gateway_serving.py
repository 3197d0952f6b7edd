"""The gateway over real connections: what a server in front of it has to hold."""

import json
import os
import stat

import anyio
import httpx2
import pytest
from sashizu_core.errors import UsageError
from sashizu_core.types import Limits
from sashizu_gateway.serving import Address, address_of, serve

ASK = {"model": "gpt-5", "input": "hello"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the server knows no other


@pytest.fixture
async def served(opened):
    bench = await opened(Limits(tokens=100_000))
    async with serve(bench.gateway, Address("127.0.0.1", 0)) as address:
        bench.address = address
        yield bench


def raw(bench, *lines: str, body: bytes = b"", length: bool = True, last: bool = True) -> bytes:
    told = [
        "POST /v1/responses HTTP/1.1",
        "host: gateway",
        f"authorization: Bearer {bench.client.secret}",
        *lines,
    ]
    if last:
        told.append("connection: close")
    if length:
        told.append(f"content-length: {len(body)}")
    return "\r\n".join([*told, "", ""]).encode() + body


async def said(bench, data: bytes) -> bytes:
    """What comes back for bytes on a connection, until it is closed."""
    found = b""
    async with await anyio.connect_tcp(bench.address.host, bench.address.port) as stream:
        await stream.send(data)
        with anyio.move_on_after(2):
            try:
                while True:
                    found += await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                pass
    return found


async def test_a_client_of_openais_api_gets_its_stream(served, service):
    service.says("good day", inputs=100, outputs=10)
    async with httpx2.AsyncClient(base_url=served.address.url, trust_env=False) as client:
        headers = {"authorization": f"Bearer {served.client.secret}"}
        async with client.stream(
            "POST", "/v1/responses", json={**ASK, "stream": True}, headers=headers
        ) as answer:
            lines = [line async for line in answer.aiter_lines()]

    assert answer.headers["content-type"] == "text/event-stream"
    assert lines[-2].startswith("data: ")
    assert served.state.spent.tokens == 110


async def test_what_is_short_is_sent_at_once(served, service):
    service.says(inputs=1, outputs=1)
    sent = raw(served, body=json.dumps({**ASK, "stream": True}).encode(), last=False)
    times = []
    async with await anyio.connect_tcp("127.0.0.1", served.address.port) as stream:
        for _ in range(40):
            begun, answer = anyio.current_time(), b""
            await stream.send(sent)
            while not answer.endswith(b"0\r\n\r\n"):
                answer += await stream.receive()
            times.append(anyio.current_time() - begun)

    assert min(times[-15:]) < 0.03  # 40 ms is how long the other side may take to say it has come


async def test_a_client_that_closes_its_connection_ends_the_call(served, service):
    noticed = anyio.Event()

    async def slow(wire, asked):
        await wire.begin()
        await wire.event({"type": "response.output_text.delta", "delta": "half"})
        await wire.gone()
        noticed.set()

    service.does(slow)
    body = json.dumps({**ASK, "stream": True}).encode()
    with anyio.fail_after(10):
        async with await anyio.connect_tcp("127.0.0.1", served.address.port) as stream:
            await stream.send(raw(served, "content-type: application/json", body=body))
            while b"half" not in await stream.receive():
                pass
        await noticed.wait()
        while served.state.held.tokens:
            await anyio.lowlevel.checkpoint()

    assert served.of("budget.settled")[0]["attrs"]["in_doubt"] is True


async def test_a_client_that_leaves_as_the_gateway_ends_pays_the_bill(opened, service):
    bench = await opened(Limits(tokens=100_000))

    async def waits(wire, asked):
        whole = b'{"id": "r", "usage": {"input_tokens": 5, "output_tokens": 2}}'
        await wire.stream.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n" % len(whole)
        )
        while not bench.gateway.ended:
            await anyio.sleep(0)
        await wire.stream.send(whole)

    service.does(waits)
    with anyio.fail_after(10):
        async with (
            serve(bench.gateway, Address("127.0.0.1", 0)) as bench.address,
            await anyio.connect_tcp("127.0.0.1", bench.address.port) as stream,
        ):
            await stream.send(raw(bench, body=json.dumps(ASK).encode()))
            assert b"200 OK" in await stream.receive()

    (settled,) = bench.of("budget.settled")
    assert (settled["budget_spent"], settled["attrs"]["in_doubt"]) == (7, False)


async def test_a_service_that_dies_breaks_the_connection_off(served, service):
    async def dies(wire, asked):
        await wire.begin()
        await wire.event({"type": "response.output_text.delta", "delta": "half"})
        await wire.stream.aclose()

    service.does(dies)
    answer = await said(served, raw(served, body=json.dumps({**ASK, "stream": True}).encode()))

    assert b"half" in answer
    assert not answer.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "lines",
    [
        ("content-length: 5", "transfer-encoding: chunked"),
        ("content-length: 5", "content-length: 6"),
        ("transfer-encoding: chunked, identity",),
        ("transfer-encoding: xchunked",),
        ("content-length: +5",),
        ("content-length: -1",),
        ("content length: 5",),
        ("x: a\r\n b: folded",),
    ],
    ids=lambda lines: lines[0],
)
async def test_requests_of_two_lengths_reach_no_service(served, service, lines):
    service.says()
    inner = raw(served, body=json.dumps(ASK).encode())

    answer = await said(served, raw(served, *lines, body=b"0\r\n\r\n" + inner, length=False))

    assert not service.asked
    assert b" 200 " not in answer.split(b"\r\n")[0]


async def test_two_requests_in_one_go_are_two_requests(served, service):
    service.says(inputs=10, outputs=1)
    body = json.dumps(ASK).encode()

    answer = await said(served, raw(served, body=body, last=False) + raw(served, body=body))

    assert answer.count(b"HTTP/1.1 200") == 2
    assert served.state.spent.tokens == 22


async def test_headers_without_end_are_not_read_for_ever(served, service):
    lines = [f"x-{number}: {'a' * 1000}" for number in range(2000)]

    answer = await said(served, raw(served, *lines, body=json.dumps(ASK).encode()))

    assert b"HTTP/1.1 200" not in answer
    assert not service.asked


async def test_a_body_that_grows_beyond_the_limit_is_refused_while_it_comes(opened, service):
    bench = await opened(max_body=2000)
    async with serve(bench.gateway, Address("127.0.0.1", 0)) as address:
        bench.address = address
        chunk = b"3e8\r\n" + b" " * 1000 + b"\r\n"
        answer = await said(
            bench, raw(bench, "transfer-encoding: chunked", body=chunk * 10, length=False)
        )

    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_socket_of_its_own_changes_nothing_for_others_in_the_process(
    opened, tmp_path, monkeypatch
):
    bench = await opened(Limits(tokens=100_000))

    def changed(mask: int) -> int:
        raise AssertionError(f"umask {mask:o} would hold for files that others make now")

    monkeypatch.setattr(os, "umask", changed)
    async with serve(bench.gateway, None, unix=tmp_path / "s"):
        assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600


async def test_a_gateway_listens_on_a_socket_that_only_its_owner_may_use(opened, service, tmp_path):
    bench = await opened()
    service.says(inputs=10, outputs=1)
    path = tmp_path / "gateway.sock"

    async with serve(bench.gateway, None, unix=path):
        mode = stat.S_IMODE(path.stat().st_mode)
        async with await anyio.connect_unix(path) as stream:
            await stream.send(raw(bench, body=json.dumps(ASK).encode()))
            answer = await stream.receive()

    assert mode == 0o600
    assert answer.startswith(b"HTTP/1.1 200")
    assert not path.exists()


@pytest.mark.parametrize("text", ["0.0.0.0:80", "example.com:80", "127.0.0.1", ":x", "[::]:1"])
def test_a_gateway_listens_on_this_machine_only(text):
    with pytest.raises(UsageError):
        address_of(text)


def test_addresses_may_leave_out_the_host():
    assert address_of(":0") == Address("127.0.0.1", 0)
    assert address_of("[::1]:80").url == "http://[::1]:80"


async def test_an_address_that_is_taken_is_told(served):
    with pytest.raises(UsageError, match="cannot listen"):
        async with serve(served.gateway, served.address):
            pass

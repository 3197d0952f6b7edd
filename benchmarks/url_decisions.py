"""What it costs to decide about a connection, and to pass one through the proxy.

    uv run python benchmarks/url_decisions.py [--rounds 5] [--number 2000]

In process, CPU only: reading a URL, judging it by an agent's grants and a ceiling, deciding about
an address. Then requests to a server on this machine, straight and through the proxy, by the clock.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import anyio
from _bench import interleaved, keep, median, parser, table
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.buffered import BufferedByteReceiveStream
from sashizu_core.addresses import why_not_public
from sashizu_core.grants import Grants, NetRequest, Subject
from sashizu_core.permissions import authorize
from sashizu_core.types import Decision
from sashizu_sandbox.network.proxy import serve_proxy
from sashizu_sandbox.network.url import parse_url

PLAIN = "https://api.example.com/v1/items?page=2"
HARD = "https://bücher.example/a/../b/%7Euser/group%2Fproject;x=y?q=ü"
SUBJECT = Subject(
    "agent", "bench", (Grants(net=("*",)), Grants(net=("example.com", "*.example.com")))
)
REQUEST = parse_url(PLAIN).request
ADDRESSES = [f"{first}.{second}.7.9" for first in range(1, 224) for second in range(20)]
TOKEN = "token"
AUTH = b"Proxy-Authorization: Basic " + b64encode(f"x:{TOKEN}".encode()) + b"\r\n"


def us_each(work: Callable[[int], Any], number: int) -> float:
    """Microseconds of CPU for one call."""
    begun = time.process_time()
    for turn in range(number):
        work(turn)
    return 1e6 * (time.process_time() - begun) / number


async def allow(request: NetRequest) -> Decision:
    return authorize((request,), Subject("agent", "bench", (Grants(net=(_origin(request),)),)))


def _origin(request: NetRequest) -> str:
    return f"{request.scheme}://{request.host}:{request.port}"


async def ask(port: int, data: bytes) -> None:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(data)
        try:
            while await stream.receive():
                pass
        except anyio.EndOfStream:
            return


async def through(number: int) -> dict[str, float]:
    """Milliseconds of a request, straight and through the proxy, turn by turn."""
    server = await anyio.create_tcp_listener(local_host="127.0.0.1")
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port, proxy = (int(each.extra(SocketAttribute.local_port)) for each in (server, listener))

    async def serve(stream: ByteStream) -> None:
        async with stream:
            await BufferedByteReceiveStream(stream).receive_until(b"\r\n\r\n", 65536)
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    host = f"Host: 127.0.0.1:{port}\r\n".encode()
    straight = b"GET / HTTP/1.1\r\n" + host + b"\r\n"
    proxied = b"GET http://127.0.0.1:%d/ HTTP/1.1\r\n" % port + host + AUTH + b"\r\n"
    found = {"straight": 0.0, "through the proxy": 0.0}
    async with anyio.create_task_group() as group:
        group.start_soon(server.serve, serve)
        group.start_soon(lambda: serve_proxy(listener, allow, token=TOKEN))
        for _ in range(number):
            for name, where, data in (
                ("straight", port, straight),
                ("through the proxy", proxy, proxied),
            ):
                begun = time.perf_counter()
                await ask(where, data)
                found[name] += 1000 * (time.perf_counter() - begun) / number
        group.cancel_scope.cancel()
    await server.aclose()
    return found


def main() -> None:
    flags = parser(__doc__, rounds=5)
    flags.add_argument("--number", type=int, default=2000)
    asked = flags.parse_args()
    number = asked.number
    cases: dict[str, Callable[[], float]] = {
        "read a plain URL": lambda: us_each(lambda _: parse_url(PLAIN), number),
        "read a URL with all that is odd": lambda: us_each(lambda _: parse_url(HARD), number),
        "judge it on two levels": lambda: us_each(lambda _: authorize((REQUEST,), SUBJECT), number),
        "decide about a new address": lambda: us_each(
            lambda turn: why_not_public(ADDRESSES[turn % len(ADDRESSES)]), number
        ),
    }
    found: dict[str, list[Any]] = interleaved(cases, asked.rounds)
    rows = [(name, median(samples)) for name, samples in found.items()]
    table(f"CPU of one decision, medians of {asked.rounds} rounds", ("decision", "us"), rows)
    turns = [anyio.run(through, max(20, number // 20)) for _ in range(asked.rounds)]
    found["requests"] = turns
    rows = [(name, median(turns, name)) for name in turns[0]]
    table(f"One request, medians of {asked.rounds} rounds", ("way", "ms"), rows)
    keep(asked.json, found)


if __name__ == "__main__":
    main()

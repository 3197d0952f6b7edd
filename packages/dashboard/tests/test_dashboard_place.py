"""Where the dashboard listens."""

from __future__ import annotations

import anyio
import pytest
from sashizu_dashboard import serving
from sashizu_dashboard.serving import Address, address_of, listening, serve
from starlette.responses import PlainTextResponse


@pytest.mark.parametrize("text", ["localhost:8798", ":8798", "127.0.0.1:8798"])
def test_the_address_that_is_printed_is_the_one_that_is_listened_on(text: str) -> None:
    assert address_of(text) == Address("127.0.0.1", 8798)


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost:", b"whole"])
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_who_holds_a_connection_without_asking_is_let_go(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "REQUEST_S", 0.2)
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with listening(Address("127.0.0.1", 0)) as place:
        async with serve(PlainTextResponse("here"), place, lambda: None):
            stream = await anyio.connect_tcp(place.address.host, place.address.port)
            async with stream:
                await stream.send(request + b"GET" if sent == b"whole" else sent)
                with anyio.fail_after(8):
                    got = b"".join([part async for part in stream])
    assert got.endswith(b"here") is (sent == b"whole")

"""A server may answer before it has read the whole request."""

import ssl

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener
from sashizu_core.errors import ModelError
from sashizu_openai.client import Client, Failure, Status
from sashizu_openai.endpoints import Endpoint

REFUSAL = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"


@pytest.fixture(params=["plain", "TLS"])
async def listening(request, authority, tmp_path, monkeypatch):
    """Serves connections with a handler; yields what starts it, and gives the URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = tcp.extra(SocketAttribute.local_port)
    secure = request.param == "TLS"
    listener = TLSListener(tcp, context, standard_compatible=False) if secure else tcp
    async with listener, anyio.create_task_group() as tasks:

        def serve(handler) -> str:
            tasks.start_soon(listener.serve, handler)
            return f"http{'s' if secure else ''}://127.0.0.1:{port}/v1"

        yield serve
        tasks.cancel_scope.cancel()


async def post(url: str, size: int) -> bytes:
    client = Client(Endpoint("x", url, "chat", "max_tokens"))
    found = b""
    try:
        with anyio.fail_after(10):
            async with client.post("/x", b"x" * size, on_connected=lambda: None) as answer:
                while (piece := await answer.read()) is not None:
                    found += piece
    finally:
        await client.close()
    return found


@pytest.mark.parametrize("size", [10, 100_000, 3_000_000, 30_000_000])
@pytest.mark.parametrize("holds", [False, True], ids=["closes", "holds"])
async def test_a_refusal_is_heard_however_much_is_still_to_be_sent(listening, size, holds) -> None:
    over = anyio.Event()

    async def refuse(stream) -> None:
        async with stream:
            await stream.receive(1024)
            await stream.send(REFUSAL)
            if holds:
                await over.wait()

    url = listening(refuse)
    with pytest.raises(Status) as caught:
        await post(url, size)
    over.set()
    assert (caught.value.status, caught.value.body) == (413, b"big")


async def test_an_answer_that_begins_early_is_read_to_its_end(listening) -> None:
    size = 3_000_000

    async def answer(stream) -> None:
        async with stream:
            first = await stream.receive(1024)
            await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nHel")
            read = len(first.partition(b"\r\n\r\n")[2])
            while read < size:
                read += len(await stream.receive())
            await stream.send(b"lo!")

    assert await post(listening(answer), size) == b"Hello!"


async def test_a_server_that_closes_without_a_word_is_told_as_a_failure(listening) -> None:
    async def close(stream) -> None:
        async with stream:
            await stream.receive(1024)

    with pytest.raises(Failure) as caught:
        await post(listening(close), 3_000_000)
    assert caught.value.sent


async def test_a_conversation_that_the_server_finds_too_large_is_not_tried_again(
    listening, connect, wire, ask
) -> None:
    async def refuse(stream) -> None:
        async with stream:
            await stream.receive(1024)
            await stream.send(REFUSAL)

    model = await connect(listening(refuse), api=wire.api)
    with pytest.raises(ModelError) as caught, anyio.fail_after(10):
        await model.complete(ask("x" * 3_000_000))
    assert not caught.value.retryable
    assert not caught.value.sent


async def test_cancelling_ends_the_sending_too(listening) -> None:
    gone = anyio.Event()

    async def read_nothing(stream) -> None:
        async with stream:
            await anyio.sleep(0.3)
            try:
                while True:
                    await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                gone.set()

    with anyio.move_on_after(0.1) as scope:
        await post(listening(read_nothing), 30_000_000)
    assert scope.cancelled_caught
    with anyio.fail_after(5):
        await gone.wait()

"""A kept connection answers the next request with the answer to it, or is not used again."""

import ssl

import anyio
import pytest
from anyio.streams.tls import TLSAttribute


async def in_one_segment(stream, *pieces: bytes) -> None:
    """Send pieces so that they arrive together, over TLS in records of their own."""
    encrypted = stream.extra(TLSAttribute.ssl_object, None)
    if encrypted is None:
        await stream.send(b"".join(pieces))
        return
    for piece in pieces[:-1]:
        encrypted.write(piece)
    await stream.send(pieces[-1])


def with_length(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.fixture(params=["plain", "TLS"])
async def either(request, server, secure, authority, tmp_path, monkeypatch):
    """A server that is spoken to plainly or over TLS."""
    if request.param == "plain":
        return server
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return secure


@pytest.mark.parametrize("size", [10, 65_000, 131_000, 600_000])
async def test_an_answer_too_many_is_never_given_to_the_next_request(
    either, connect, wire, ask, size
) -> None:
    async def handler(connection, request):
        answer = with_length(b":" + b" " * size + b"\n\n" + wire.stream("Hello."))
        await in_one_segment(connection.stream, answer, with_length(wire.stream("Forged.")))

    either.serves(handler)
    model = await connect(either.url, api=wire.api)
    with anyio.fail_after(10):
        for _ in range(3):
            assert (await model.complete(ask())).message.content == "Hello."
    assert either.connections == 3


async def test_what_comes_right_behind_a_full_buffer_of_records_is_noticed(
    either, connect, wire, ask
) -> None:
    # TLS is fed 64 KiB at a time; a record of at most 16 KiB takes 22 bytes more on the wire.
    full = 64 * 1024 - 4 * 22
    rest = b"\n\n" + wire.stream("Hello.")
    length = full - len(with_length(b"." * 60_000)) + 60_000 - len(rest)
    whole = with_length(b":" + b" " * (length - 1) + rest)
    assert len(whole) == full

    async def first(connection, request):
        await connection.send(with_length(wire.stream("Hello.")))

    async def second(connection, request):
        await in_one_segment(connection.stream, whole, with_length(wire.stream("Forged.")))

    either.serves(first, second)
    model = await connect(either.url, api=wire.api)
    with anyio.fail_after(10):
        for _ in range(5):
            assert (await model.complete(ask())).message.content == "Hello."
    assert either.connections > 1


async def test_half_an_answer_too_many_is_noticed_as_well(either, connect, wire, ask) -> None:
    async def handler(connection, request):
        await in_one_segment(connection.stream, with_length(wire.stream("Hello.")), b"HTTP/1.1 2")

    either.serves(handler)
    model = await connect(either.url, api=wire.api)
    with anyio.fail_after(10):
        for _ in range(2):
            assert (await model.complete(ask())).message.content == "Hello."
    assert either.connections == 2


async def test_a_connection_without_surplus_is_kept(either, connect, wire, ask) -> None:
    async def handler(connection, request):
        await connection.send(with_length(wire.stream("Hello.")))

    either.serves(handler)
    model = await connect(either.url, api=wire.api)
    with anyio.fail_after(10):
        for _ in range(5):
            assert (await model.complete(ask())).message.content == "Hello."
    assert either.connections == 1


async def test_a_secure_server_that_says_goodbye_is_not_asked_again(
    secure, connect, wire, ask, authority, tmp_path, monkeypatch
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    async def handler(connection, request):
        encrypted = connection.stream.extra(TLSAttribute.ssl_object)
        encrypted.write(with_length(wire.stream("Hello.")))
        with pytest.raises(ssl.SSLWantReadError):
            encrypted.unwrap()
        await connection.stream._flush_write_bio()

    secure.serves(handler)
    model = await connect(secure.url, api=wire.api)
    with anyio.fail_after(10):
        for _ in range(2):
            assert (await model.complete(ask())).message.content == "Hello."
    assert secure.connections == 2

"""What servers may say in HTTP, and what they may not."""

import anyio
import pytest
from sashizu_core.errors import ModelError, UsageError
from sashizu_openai.client import Client
from sashizu_openai.endpoints import Endpoint
from sashizu_openai.transport.origin import Origin, split_url
from sashizu_openai.transport.proxies import proxy_for


def raw(*pieces: bytes):
    async def handler(connection, request):
        for piece in pieces:
            await connection.send(piece)
        await connection.stream.aclose()

    return handler


async def test_an_answer_that_ends_with_its_connection_is_whole(server, connect, wire, ask) -> None:
    server.serves(
        raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", wire.stream("Hello."))
    )
    model = await connect(server.url, api=wire.api)
    for _ in range(2):
        assert (await model.complete(ask())).message.content == "Hello."
    assert server.connections == 2


async def test_interim_answers_are_passed_over(server, connect, wire, ask) -> None:
    body = wire.stream("Hello.")
    server.serves(
        raw(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body,
        )
    )
    model = await connect(server.url, api=wire.api)
    assert (await model.complete(ask())).message.content == "Hello."


async def test_an_answer_comes_in_pieces_of_any_size(server, connect, wire, ask) -> None:
    async def handler(connection, request):
        body = wire.stream("Hello.")
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for byte in head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body):
            await connection.send(bytes([byte]))

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    for _ in range(2):
        assert (await model.complete(ask())).message.content == "Hello."
    assert server.connections == 1


@pytest.mark.parametrize(
    "said",
    [
        b"220 smtp.example.org ready\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"",
    ],
    ids=["another protocol", "two lengths", "bad chunks", "endless headers", "upgrade", "nothing"],
)
async def test_what_is_no_answer_may_be_billed_and_is_never_taken_for_one(
    server, connect, wire, ask, said
) -> None:
    server.serves(raw(said))
    model = await connect(server.url, api=wire.api)
    with pytest.raises(ModelError) as caught, anyio.fail_after(5):
        await model.complete(ask())
    assert (caught.value.fault, caught.value.sent) == ("transport", True)


async def test_a_connection_that_the_server_closed_is_not_used_again(
    server, connect, wire, ask
) -> None:
    async def closes(connection, request):
        await connection.answer(200, wire.stream("Hello."), content_type="text/event-stream")
        await connection.stream.aclose()

    server.serves(closes)
    model = await connect(server.url, api=wire.api)
    for _ in range(5):
        assert (await model.complete(ask())).message.content == "Hello."
        await anyio.wait_all_tasks_blocked()
    assert server.connections == 5


async def test_words_that_nobody_asked_for_do_not_answer_the_next_request(
    server, connect, wire, ask
) -> None:
    async def too_much(connection, request):
        body = wire.stream("Hello.")
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        forged = wire.stream("Forged.")
        await connection.send(
            head + body + b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(forged) + forged
        )

    server.serves(too_much)
    model = await connect(server.url, api=wire.api)
    for _ in range(3):
        assert (await model.complete(ask())).message.content == "Hello."
    assert server.connections == 3


@pytest.mark.parametrize("line", [b"a: b\r\n", b"X-%d: y\r\n", b"X: " + b"y" * 1000 + b"\r\n"])
async def test_trailers_without_end_are_not_collected(server, connect, wire, ask, line) -> None:
    sent = 0

    async def handler(connection, request):
        nonlocal sent
        await connection.events(wire.opening())
        await connection.send(b"0\r\n")
        lines = line * 20_000 if b"%" not in line else b"".join(line % n for n in range(20_000))
        for _ in range(1000):
            await connection.send(lines)
            sent += len(lines)

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    with pytest.raises(ModelError) as caught, anyio.fail_after(5):
        await model.complete(ask())
    assert caught.value.fault == "transport"
    assert sent < 50_000_000


async def test_trailers_change_nothing(server, connect, wire, ask) -> None:
    async def handler(connection, request):
        await connection.events(wire.stream("Hello."))
        await connection.send(b"0\r\nX-Sum: 1\r\nContent-Encoding: br\r\n\r\n")
        connection.chunked = False

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    for _ in range(2):
        assert (await model.complete(ask())).message.content == "Hello."
    assert server.connections == 1


async def test_garbage_right_behind_an_answer_does_not_lose_it(server, connect, wire, ask) -> None:
    body = wire.stream("Hello.")
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    server.serves(raw(head + b"%x\r\n%s\r\nzz\r\n" % (len(body), body)))
    model = await connect(server.url, api=wire.api)
    assert (await model.complete(ask())).message.content == "Hello."


async def test_a_chunk_that_never_begins_is_given_up(server, connect, wire, ask) -> None:
    async def handler(connection, request):
        await connection.events(wire.opening())
        await connection.send(b"5;")
        for _ in range(1000):
            await connection.send(b"x" * 10_000)

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    with pytest.raises(ModelError, match="no end"), anyio.fail_after(5):
        await model.complete(ask())


async def test_a_compression_that_was_not_asked_for_is_not_guessed(
    server, connect, wire, ask
) -> None:
    async def handler(connection, request):
        await connection.answer(200, b"????", content_encoding="br")

    server.serves(handler)
    model = await connect(server.url, api=wire.api)
    with pytest.raises(ModelError, match="'br'"):
        await model.complete(ask())


# --- addresses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin", "authority", "path"),
    [
        ("http://h/v1", Origin("http", "h", 80), "h", "/v1"),
        ("https://H.example:443/v1", Origin("https", "h.example", 443), "h.example", "/v1"),
        ("http://[::1]:8080/v1", Origin("http", "::1", 8080), "[::1]:8080", "/v1"),
        ("https://bücher.example/v1", Origin("https", "xn--bcher-kva.example", 443), "", "/v1"),
        ("http://h:81/a b/ä", Origin("http", "h", 81), "h:81", "/a%20b/%C3%A4"),
    ],
)
def test_urls_become_what_is_sent(url, origin, authority, path) -> None:
    assert split_url(url) == (origin, path)
    assert not authority or origin.authority == authority


@pytest.mark.parametrize("url", ["ftp://h/", "http://", "http://h:0/", "http://[bad/"])
def test_what_is_no_url_is_refused(url) -> None:
    with pytest.raises(ValueError, match=r".+"):
        split_url(url)


def test_a_proxy_is_chosen_by_the_scheme(monkeypatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://one:1")
    monkeypatch.setenv("ALL_PROXY", "two:2")
    monkeypatch.setenv("NO_PROXY", "internal.example")
    secure, plain = Origin("https", "a.example", 443), Origin("http", "a.example", 80)
    assert proxy_for(secure).origin == Origin("http", "one", 1)
    assert proxy_for(plain).origin == Origin("http", "two", 2)
    assert proxy_for(Origin("https", "x.internal.example", 443)) is None


# --- OpenAI's own environment ---------------------------------------------------------------------


def official() -> Endpoint:
    return Endpoint(
        name="openai",
        base_url="https://api.openai.com/v1",
        api="responses",
        output_cap_name="max_output_tokens",
        key="sk-x",
    )


def test_openai_itself_gets_what_its_own_variables_say(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Own: yes\nnonsense")
    lines = Client(official())._lines.decode()
    assert "OpenAI-Organization: org-1\r\n" in lines
    assert "OpenAI-Project: proj-1\r\n" in lines
    assert "X-Own: yes\r\n" in lines
    assert "nonsense" not in lines


@pytest.mark.parametrize("value", ["a\x01b", "ä"])
def test_a_value_that_no_header_can_carry_is_refused(monkeypatch, value) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", value)
    with pytest.raises(UsageError, match="OpenAI-Organization"):
        Client(official())

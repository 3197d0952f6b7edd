"""The name in a TLS client's first message, as it is cut from bytes that may be hostile."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sashizu_sandbox.network.client_hello import (
    ClientHello,
    Incomplete,
    NoClientHello,
    read_hello,
)


def hello(name: str | None) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(content).to_bytes(2, "big") + content


def named(*names: bytes) -> bytes:
    listed = b"".join(b"\0" + len(name).to_bytes(2, "big") + name for name in names)
    return extension(0, len(listed).to_bytes(2, "big") + listed)


def made(*extensions: bytes, after: bytes = b"") -> bytes:
    """A first message with these extensions, in one record."""
    inner = b"".join(extensions)
    body = (
        b"\x03\x03" + b"r" * 32 + b"\0" + b"\0\x02\x13\x01" + b"\x01\0"
        + len(inner).to_bytes(2, "big") + inner + after
    )  # fmt: skip
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def in_records(data: bytes, size: int) -> bytes:
    """The same message, cut into records of so many bytes."""
    message = data[5:]
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(p).to_bytes(2, "big") + p for p in pieces)


def test_the_name_is_that_which_openssl_asks_for() -> None:
    assert read_hello(hello("Example.COM")) == ClientHello("example.com", encrypted=False)
    assert read_hello(hello(None)).server_name == ""
    assert read_hello(hello("127.0.0.1")).server_name == ""


@pytest.mark.parametrize("size", [1, 3, 4, 5, 100])
def test_a_message_in_several_records_is_one_message(size: int) -> None:
    assert read_hello(in_records(hello("example.com"), size)).server_name == "example.com"


def test_every_beginning_of_a_message_is_incomplete() -> None:
    data = in_records(hello("example.com"), 50)
    for end in range(len(data)):
        with pytest.raises(Incomplete):
            read_hello(data[:end])


def test_a_client_that_may_ask_in_secret_is_seen() -> None:
    data = made(named(b"example.com"), extension(0xFE0D, b"secret"))
    assert read_hello(data) == ClientHello("example.com", encrypted=True)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x01\0\x02\0\0",
        b"\x16\x02\x01\0\x05",
        b"\x16\x03\x01\0\0",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\0\x04\x02\0\0\0",
        b"\x16\x03\x01\0\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\0\x04\x01\0\0\0",
        made(named(b"a.example", b"b.example")),
        made(named(b"a.example"), named(b"b.example")),
        made(named(b"\xff.example")),
        made(extension(0, b"\0\x04\x01\0\x01a")),
        made(extension(0, b"\0\xff\0\0\x01a")),
        made(extension(0, b"")),
        made(after=b"more"),
        made()[:-1] + b"\xff",
    ],
)
def test_what_could_be_read_in_two_ways_is_no_first_message(data: bytes) -> None:
    with pytest.raises(NoClientHello):
        read_hello(data)


@given(st.binary(max_size=300), st.integers(0, 600), st.integers(0, 255))
def test_any_bytes_are_a_message_or_not_and_never_an_accident(
    noise: bytes, at: int, value: int
) -> None:
    good = bytearray(hello_bytes)
    good[at % len(good)] = value
    for data in (noise, bytes(good), bytes(good) + noise):
        try:
            read_hello(data)
        except (Incomplete, NoClientHello):
            continue


hello_bytes = hello("example.com")

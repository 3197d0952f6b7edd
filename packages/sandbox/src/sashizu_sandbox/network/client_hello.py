"""The name that a TLS client asks for, from its first message (RFC 8446, RFC 6066)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ClientHello", "Incomplete", "NoClientHello", "read_hello"]

LARGEST = 64 * 1024
"""Bytes above which no first message is waited for."""

_RECORD_BEGINS = bytes((22, 3))
"""A handshake, in any version of TLS."""

_RECORD_HEAD = 5
_CLIENT_HELLO = 1
_MESSAGE_HEAD = 4
_LARGEST_RECORD = 16 * 1024
_SERVER_NAME = 0
_ENCRYPTED_HELLO = 0xFE0D
_HOST_NAME = 0


class Incomplete(Exception):
    """More bytes are needed."""


class NoClientHello(ValueError):
    """It is no first message of a TLS client."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a client says openly. `encrypted` says that it may ask for another name in secret."""

    server_name: str
    encrypted: bool


class _Reader:
    """Bytes of a known length, taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise NoClientHello("a field is longer than what holds it")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Reader:
        """What follows its own length, which has so many bytes."""
        return _Reader(self.take(self.number(size)))


def read_hello(data: bytes) -> ClientHello:
    """Read the first message of a client from all bytes that came so far.

    Raises:
        Incomplete: it goes on.
        NoClientHello: it is none.
    """
    body = _Reader(_message(data))
    body.take(2 + 32)  # version and random
    body.vector(1)  # session
    body.vector(2)  # cipher suites
    body.vector(1)  # compression methods
    name, encrypted, seen = "", False, set()
    extensions = body.vector(2) if body else _Reader(b"")
    if body:
        raise NoClientHello("something follows the extensions")
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in seen:
            raise NoClientHello("an extension is there twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _name(content)
        encrypted = encrypted or kind == _ENCRYPTED_HELLO
    return ClientHello(name, encrypted)


def _name(content: _Reader) -> str:
    names = content.vector(2)
    kind, name = names.number(1), names.vector(2)
    if kind != _HOST_NAME or names or content:
        raise NoClientHello("it asks for more than one name")
    try:
        return name.rest().decode("ascii").lower()
    except UnicodeDecodeError:
        raise NoClientHello("the name is not ASCII") from None


def _message(data: bytes) -> bytes:
    """The body of the first handshake message, which may be cut into several records."""
    message = b""
    at = 0
    while True:
        record, whole = _record(data[at:])
        message += record
        if message and message[0] != _CLIENT_HELLO:
            raise NoClientHello("it is another message than a client's first")
        wanted = _MESSAGE_HEAD + int.from_bytes(message[1:_MESSAGE_HEAD], "big")
        if len(message) >= _MESSAGE_HEAD and wanted > LARGEST:
            raise NoClientHello("it is too long")
        if not whole:
            raise Incomplete
        if _MESSAGE_HEAD <= len(message) >= wanted:
            if len(message) > wanted:
                raise NoClientHello("something follows it in its record")
            return message[_MESSAGE_HEAD:]
        at += _RECORD_HEAD + len(record)


def _record(data: bytes) -> tuple[bytes, bool]:
    """What there is of the first record, and whether that is all of it."""
    head = data[:_RECORD_HEAD]
    if not _RECORD_BEGINS.startswith(head[:2]):
        raise NoClientHello("it does not begin with TLS")
    if len(head) < _RECORD_HEAD:
        return b"", False
    size = int.from_bytes(head[3:], "big")
    if not 0 < size <= _LARGEST_RECORD:
        raise NoClientHello("a record has no possible size")
    record = data[_RECORD_HEAD : _RECORD_HEAD + size]
    return record, len(record) == size

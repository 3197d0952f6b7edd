"""Undo a compression piece by piece: gzip (RFC 1952) and deflate (RFC 9110, section 8.4.1.2)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

__all__ = ["CODINGS", "LARGEST_PIECE", "Unpacker"]

CODINGS = frozenset({"gzip", "x-gzip", "deflate"})

LARGEST_PIECE = 256 * 1024
"""The most that one piece grows to, in bytes."""

_RAW, _ANY = -15, 47
"""How zlib is told what to expect: no header at all, or one of zlib or gzip."""


class Unpacker:
    """Takes packed bytes as they come. What errors it raises are `zlib.error`."""

    def __init__(self, coding: str) -> None:
        self._may_be_raw = coding == "deflate"
        self._head = b""
        self._unpack: zlib._Decompress | None = None

    def take(self, packed: bytes) -> Iterator[bytes]:
        """What so many bytes more are, in pieces. Take all of them before more is given."""
        while packed:
            if self._unpack is None or self._unpack.eof:
                packed = self._begun(packed)
                if self._unpack is None or self._unpack.eof:
                    return
            if piece := self._unpack.decompress(packed, LARGEST_PIECE):
                yield piece
            packed = self._unpack.unconsumed_tail or self._unpack.unused_data

    def end(self) -> bytes:
        """The last piece."""
        if self._unpack is None:
            if self._head:
                raise zlib.error("it ends within its head")
            return b""
        rest = self._unpack.flush()
        if not self._unpack.eof:
            raise zlib.error("it ends too early")
        return rest

    def _begun(self, packed: bytes) -> bytes:
        """Begin a stream, or the next member of one; returns what it begins with.

        Many servers mean a stream without a head by `deflate`.
        """
        if self._unpack is not None:
            packed = packed.lstrip(b"\0")  # padding between members and behind the last
            if packed:
                self._unpack = zlib.decompressobj(_ANY)
            return packed
        packed, self._head = self._head + packed, b""
        if len(packed) < 2:
            self._head = packed
        else:
            raw = self._may_be_raw and not _has_head(packed)
            self._unpack = zlib.decompressobj(_RAW if raw else _ANY)
        return packed


def _has_head(packed: bytes) -> bool:
    """Whether a zlib head is there (RFC 1950, section 2.2)."""
    return packed[0] & 0x0F == 8 and (packed[0] * 256 + packed[1]) % 31 == 0

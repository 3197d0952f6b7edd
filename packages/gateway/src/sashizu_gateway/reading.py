"""Reads what an answer used while its bytes pass by."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from sashizu_gateway.dialects.dialect import Dialect
from sashizu_gateway.dialects.found import Found

__all__ = ["LARGEST", "StreamReader", "WholeReader"]

LARGEST = 32 * 1024 * 1024
"""Bytes of one event, or of an answer that is no stream, that are read; longer ones pass unread."""


class WholeReader:
    """Takes an answer that comes as one JSON document."""

    def __init__(self, dialect: Dialect, found: Found) -> None:
        self._dialect = dialect
        self._found = found
        self._pieces: list[bytes] = []
        self._size = 0

    @property
    def lost(self) -> bool:
        """Whether it is too large to be read."""
        return self._size > LARGEST

    def feed(self, piece: bytes) -> bytes:
        """Take a piece; returns what goes on to the client."""
        self._size += len(piece)
        if not self.lost:
            self._pieces.append(piece)
        else:
            self._pieces.clear()
        return piece

    def end(self) -> bytes:
        """The answer has come to its end; returns what goes on to the client."""
        if not self.lost:
            try:
                self._dialect.read_whole(orjson.loads(b"".join(self._pieces)), self._found)
            except orjson.JSONDecodeError:
                return b""
        return b""


class StreamReader:
    """Takes server-sent events (HTML standard, section 9.2.6) line by line.

    `text` says that the text of the answer is wanted, too. With `hide`, events are held until they
    are whole, and those that only the gateway asked for are left out.
    """

    def __init__(self, dialect: Dialect, found: Found, *, text: bool, hide: bool) -> None:
        self._dialect = dialect
        self._found = found
        self._text = text
        self._hide = hide
        self._line: list[bytes] = []
        self._size = 0
        self._block: list[bytes] = []
        self._extra = False

    def feed(self, piece: bytes) -> bytes:
        """Take a piece; returns what goes on to the client, which without `hide` is the piece."""
        if self._hide and self._held + len(piece) > LARGEST:
            return self._give_up() + piece
        if b"\n" not in piece:
            self._keep(piece)
            return b"" if self._hide else piece
        *lines, rest = piece.split(b"\n")
        shown: list[bytes] = []
        for line in lines:
            shown += self._take(self._whole(line))
        self._keep(rest)
        return b"".join(shown) if self._hide else piece

    def end(self) -> bytes:
        """The stream has come to its end; returns what goes on to the client."""
        line = self._whole(b"")
        shown = [*self._block, line] if line or self._block else []
        self._read(line)
        return b"".join(shown) if self._hide and not self._extra else b""

    @property
    def _held(self) -> int:
        return self._size + sum(map(len, self._block))

    def _give_up(self) -> bytes:
        """Hold nothing back any more: an event that large is none of ours."""
        held = b"".join([*self._block, *self._line])
        self._hide, self._block = False, []
        return held

    def _keep(self, rest: bytes) -> None:
        self._size += len(rest)
        if rest and self._size <= LARGEST:
            self._line.append(rest)

    def _whole(self, rest: bytes) -> bytes:
        if not self._line:
            self._size = 0
            return rest
        line = b"".join([*self._line, rest])
        too_large = self._size > LARGEST
        self._line, self._size = [], 0
        return b"" if too_large else line

    def _take(self, line: bytes) -> Iterator[bytes]:
        if not self._hide:
            self._read(line)
            return
        self._block.append(line + b"\n")
        self._read(line)
        if not line.strip(b"\r"):
            if not self._extra:
                yield from self._block
            self._block, self._extra = [], False

    def _read(self, line: bytes) -> None:
        if not line.startswith(b"data:") or not self._dialect.matters(line, text=self._text):
            return
        try:
            event = orjson.loads(line[5:])
        except orjson.JSONDecodeError:
            return  # `[DONE]`, or nothing that this API says
        self._dialect.read_event(event, self._found)
        if self._hide and self._dialect.is_extra(event):
            self._extra = True

"""Encode each message once, so that a call costs what is new in it."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from sashizu_core.types import Message, ToolSchema

from sashizu_openai.halves import mended

__all__ = ["Encodings", "ToolEncodings", "dump_json", "encodable"]


def dump_json(value: Any) -> bytes:
    """JSON in UTF-8. Lone surrogates, which UTF-8 cannot carry, become U+FFFD."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return orjson.dumps(encodable(value))


def encodable(value: Any) -> Any:
    """The value as orjson takes it."""
    match value:
        case str():
            return mended(value)
        case Mapping():
            return {encodable(str(key)): encodable(below) for key, below in value.items()}
        case list() | tuple():
            return [encodable(below) for below in value]
        case int() if not -(2**63) <= value < 2**64:
            return float(value)  # orjson knows 64 bits; JSON has one kind of number
        case _:
            return value


class Encodings:
    """The encoded messages of living conversations, by identity.

    An entry goes with its message. `encode` gives the JSON of a message, b"" to leave it out, or
    several values joined by commas.
    """

    def __init__(self, encode: Callable[[Message], bytes]) -> None:
        self._encode = encode
        self._parts: dict[int, bytes] = {}
        self._alive: dict[int, weakref.ref[Message]] = {}

    def join(self, messages: Sequence[Message]) -> bytes:
        """The messages, joined by commas."""
        parts = list(map(self._parts.get, map(id, messages)))
        at = -1
        for _ in range(parts.count(None)):
            at = parts.index(None, at + 1)
            parts[at] = self._part(messages[at])
        return b",".join(filter(None, parts))

    def _part(self, message: Message) -> bytes:
        key = id(message)
        part = self._parts.get(key)
        if part is None:
            # A copy of its own: what orjson returns holds on to 4 KiB, however short it is.
            part = memoryview(self._encode(message)).tobytes()
            self._alive[key] = weakref.ref(message, partial(self._forget, key))
            self._parts[key] = part
        return part

    def _forget(self, key: int, _gone: weakref.ref[Message]) -> None:
        self._parts.pop(key, None)
        self._alive.pop(key, None)

    def __len__(self) -> int:
        return len(self._parts)


class ToolEncodings:
    """The encoded tool lists that were used last, by the identity of the tools in them."""

    _KEPT = 64

    def __init__(self, encode: Callable[[Sequence[ToolSchema]], bytes]) -> None:
        self._encode = encode
        self._kept: OrderedDict[tuple[int, ...], tuple[Sequence[ToolSchema], bytes]] = OrderedDict()

    def of(self, tools: Sequence[ToolSchema]) -> bytes:
        key = tuple(map(id, tools))
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept[1]
        encoded = self._encode(tools)
        self._kept[key] = (tools, encoded)  # holding the tools keeps their ids theirs
        if len(self._kept) > self._KEPT:
            self._kept.popitem(last=False)
        return encoded

"""The most that a request can be billed, from its bytes and from what came before it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson
from sashizu_core.bounds import Overhead, text_bound
from sashizu_core.types import Usage

from sashizu_gateway.dialects.dialect import Dialect, Rules
from sashizu_gateway.dialects.hosted import References

__all__ = ["Measure", "Prefixes", "encoded", "measured"]

MOST_REMEMBERED = 512
"""Requests of one client whose bills are remembered."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A request as it was measured.

    `input_tokens` is the bound without the endpoint's overhead for requests, which may be raised
    while the request waits; `rule` says how it was found. `mark` names the request for those that
    go on from it; `items` are the encoded parts of the conversation, `fresh` of which came after
    what was bounded by a bill.
    """

    input_tokens: int
    rule: str
    mark: tuple[int, bytes]
    items: Sequence[bytes]
    fresh: int


class Prefixes:
    """What earlier requests of a client were billed, by what they began with.

    A request that goes on from one of them costs what that one was billed, and the text added.
    """

    def __init__(self) -> None:
        self._bills: OrderedDict[tuple[int, bytes], Usage] = OrderedDict()
        self._lengths: dict[int, int] = {}

    def remember(self, mark: tuple[int, bytes], usage: Usage) -> None:
        """Keep a bill."""
        if mark not in self._bills:
            self._lengths[mark[0]] = self._lengths.get(mark[0], 0) + 1
        self._bills[mark] = usage
        self._bills.move_to_end(mark)
        if len(self._bills) > MOST_REMEMBERED:
            (length, _), _ = self._bills.popitem(last=False)
            self._lengths[length] -= 1
            if not self._lengths[length]:
                del self._lengths[length]

    def longest(
        self, head: bytes, items: Sequence[bytes]
    ) -> tuple[int, Usage | None, tuple[int, bytes]]:
        """How many items were billed before, for how much, and the mark of all of them."""
        chain = blake2b(head, digest_size=16)
        found: tuple[int, Usage | None] = 0, None
        lengths = self._lengths
        for number, item in enumerate(items, 1):
            chain.update(len(item).to_bytes(8, "big"))
            chain.update(item)
            if number in lengths:
                usage = self._bills.get((number, chain.digest()))
                if usage is not None:
                    found = number, usage
        return *found, (len(items), chain.digest())


def measured(
    body: Mapping[str, Any],
    dialect: Dialect,
    rules: Rules,
    overhead: Overhead,
    prefixes: Prefixes,
    *,
    upstream: str,
) -> Measure:
    """Bound the input of a request.

    Raises:
        RequestRefused: it refers to something whose tokens cannot be known.
    """
    conversation = dialect.conversation(body)
    items = [_json(dialect.plain(item)) for item in conversation]
    settings = {
        name: value
        for name, value in body.items()
        if name != dialect.items and name not in dialect.untold
    }
    head = _json(settings)
    count, usage, mark = prefixes.longest(
        b"%b %b %b" % (upstream.encode(), dialect.name.encode(), head), items
    )
    images = References(dialect.runs_at_client, rules.image_tokens)
    if rules.counted:
        images.walk(conversation[count:])
    added = _bound_of(items[count:]) + overhead.per_message * (len(items) - count)
    added += images.images * (rules.image_tokens or 0) - images.inline
    if usage is not None:
        tokens = usage.input_tokens + usage.reasoning_tokens + added
        return Measure(tokens, "previous call + text added", mark, items, len(items) - count)
    tools = body.get("tools")
    count_of_tools = _tools_in(tools) if isinstance(tools, list) else 0
    tokens = added + _bound_of([head]) + overhead.per_tool * count_of_tools
    return Measure(tokens, "text of everything", mark, items, len(items))


def encoded(body: dict[str, Any]) -> bytes:
    """A request as it is sent: what was judged, and nothing that another parser could see in it."""
    return orjson.dumps(body)


def _json(value: Any) -> bytes:
    return orjson.dumps(value)


def _bound_of(parts: Iterable[bytes]) -> int:
    """The tokens that texts can have at most; JSON's own marks make them longer, never shorter."""
    return sum(len(part) if part.isascii() else text_bound(part.decode("utf-8")) for part in parts)


def _tools_in(tools: list[Any]) -> int:
    """How many tools there are, those in groups too."""
    count = 0
    for tool in tools:
        inner = tool.get("tools") if isinstance(tool, dict) else None
        count += 1 + (_tools_in(inner) if isinstance(inner, list) else 0)
    return count

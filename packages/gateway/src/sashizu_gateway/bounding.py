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
from sashizu_gateway.dialects.refusals import RequestRefused

__all__ = ["MOST_GROWTH", "Begun", "Measure", "Prefixes", "encoded", "measured"]

MOST_REMEMBERED = 512
"""Requests of one client whose bills are remembered."""

MOST_THOUGHTS = 8192
"""Ids of reasoning of one client that are remembered."""

MOST_WRITTEN = 1024 * 1024
"""Bytes of text in other letters than ASCII's of which all forms are written."""

MOST_GROWTH = 12
"""How many times as many bytes as its own a form of a text has at most."""

Mark = tuple[int, bytes]
"""Names a request by what it holds."""


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
    mark: Mark
    items: Sequence[bytes]
    fresh: int


@dataclass(frozen=True, slots=True)
class Begun:
    """How a request begins: with `count` items that were sent before as `under`, for `usage`.

    `mark` names all of it. Without such a beginning `count` is 0, the others are None.
    """

    count: int
    usage: Usage | None
    under: Mark | None
    mark: Mark


class Prefixes:
    """What earlier requests of a client were billed, by what they began with.

    A request that goes on from one of them costs what that one was billed, and the text added.
    """

    def __init__(self) -> None:
        self._bills: OrderedDict[Mark, Usage] = OrderedDict()
        self._lengths: dict[int, int] = {}
        self._thoughts: OrderedDict[str, tuple[Mark, int]] = OrderedDict()

    def remember(self, mark: Mark, usage: Usage, thoughts: Iterable[str] = ()) -> None:
        """Keep a bill, and the ids of the reasoning in the answer."""
        for name in thoughts:
            self._thoughts[name] = mark, usage.reasoning_tokens
            if len(self._thoughts) > MOST_THOUGHTS:
                self._thoughts.popitem(last=False)
        if mark not in self._bills:
            self._lengths[mark[0]] = self._lengths.get(mark[0], 0) + 1
        self._bills[mark] = usage
        self._bills.move_to_end(mark)
        if len(self._bills) > MOST_REMEMBERED:
            (length, _), _ = self._bills.popitem(last=False)
            self._lengths[length] -= 1
            if not self._lengths[length]:
                del self._lengths[length]

    def thought(self, name: str, begun: Begun) -> int | None:
        """The tokens that an id of reasoning adds to a request; None if it is not known.

        What the bill counts that the request begins with is not counted again.
        """
        known = self._thoughts.get(name)
        if known is None:
            return None
        mark, tokens = known
        return 0 if mark == begun.under else tokens

    def longest(self, head: bytes, items: Sequence[bytes]) -> Begun:
        """The longest beginning that was billed before."""
        chain = blake2b(head, digest_size=16)
        count, usage, under = 0, None, None
        lengths = self._lengths
        for number, item in enumerate(items, 1):
            chain.update(len(item).to_bytes(8, "big"))
            chain.update(item)
            if number in lengths:
                mark = number, chain.digest()
                if (found := self._bills.get(mark)) is not None:
                    count, usage, under = number, found, mark
        return Begun(count, usage, under, (len(items), chain.digest()))


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
    begun = prefixes.longest(b"%b %b %b" % (upstream.encode(), dialect.name.encode(), head), items)
    count = begun.count
    added = _bound_of(items[count:]) + overhead.per_message * (len(items) - count)
    if rules.counted:
        added += _not_text(body, conversation, dialect, rules, prefixes, begun)
    if (usage := begun.usage) is not None:
        tokens = usage.input_tokens + usage.reasoning_tokens + added
        fresh = len(items) - count
        return Measure(tokens, "previous call + text added", begun.mark, items, fresh)
    tools = body.get("tools")
    count_of_tools = _tools_in(tools) if isinstance(tools, list) else 0
    tokens = added + _bound_of([head]) + overhead.per_tool * count_of_tools
    return Measure(tokens, "text of everything", begun.mark, items, len(items))


def _not_text(
    body: Mapping[str, Any],
    conversation: Sequence[Any],
    dialect: Dialect,
    rules: Rules,
    prefixes: Prefixes,
    begun: Begun,
) -> int:
    """What is added to the bound of the text for what is none; less where it is images.

    Raises:
        RequestRefused: something refers to what is not in the request.
    """
    found = References(
        dialect.runs_at_client, rules.image_tokens, lambda name: prefixes.thought(name, begun)
    )
    found.items(conversation[begun.count :])
    if begun.usage is None:
        found.walk([part for name in _TOLD if isinstance(part := body.get(name), list)])
    tokens = found.images * (rules.image_tokens or 0) - found.inline + found.thoughts
    if rules.image_tokens and begun.count:  # an address may hold another image by now
        before = References(dialect.runs_at_client, rules.image_tokens, lambda _: 0)
        before.walk(conversation[: begun.count])
        tokens += before.remote * rules.image_tokens
    return tokens


_TOLD = ("system", "instructions")
"""What a model is told besides the conversation."""


def encoded(body: dict[str, Any]) -> bytes:
    """A request as it is sent: what was judged, and nothing that another parser could see in it.

    Raises:
        RequestRefused: it is nested too deeply.
    """
    return _json(body)


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise RequestRefused("malformed", f"the body cannot be passed on: {error}") from error


def _bound_of(parts: Iterable[bytes]) -> int:
    """The tokens that texts can have at most; JSON's own marks make them longer, never shorter."""
    tokens = other = 0
    for part in parts:
        if part.isascii():
            tokens += len(part)
            continue
        other += len(part)
        # All forms of a text are written to find the longest, while everybody else waits.
        written = other <= MOST_WRITTEN
        tokens += text_bound(part.decode("utf-8")) if written else len(part) * MOST_GROWTH
    return tokens


def _tools_in(tools: list[Any]) -> int:
    """How many tools there are, those in groups too."""
    count = 0
    for tool in tools:
        inner = tool.get("tools") if isinstance(tool, dict) else None
        count += 1 + (_tools_in(inner) if isinstance(inner, list) else 0)
    return count

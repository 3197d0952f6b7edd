"""Upper bounds of what a model call can be billed, from the bytes of its text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from json import dumps

from sashizu_core.types import Bound, Message, ModelRequest, ToolSchema

__all__ = ["MOST_BYTES_PER_CHARACTER", "Overhead", "bound_of", "text_bound"]


MOST_BYTES_PER_CHARACTER = 36
"""No form of a text has more bytes: NFKC makes 33 of U+FDFA, the most of any character."""


def text_bound(text: str) -> int:
    """The most tokens a byte-level tokenizer can make of a text.

    The longest UTF-8 length of the raw, NFC and NFKC forms: a tokenizer may normalise first, and no
    token covers less than one byte. For ASCII all three are the same.
    """
    if text.isascii():
        return len(text)
    return max(
        len(form.encode("utf-8", "surrogatepass"))
        for form in (
            text,
            unicodedata.normalize("NFC", text),
            unicodedata.normalize("NFKC", text),
        )
    )


@dataclass(slots=True)
class Overhead:
    """What an endpoint's chat template adds to the text, in tokens; raised to the excess seen.

    Mutable on purpose: one per endpoint, fed by `learn` with every billed input.
    """

    per_request: int = 1024
    per_message: int = 16
    per_tool: int = 64

    def learn(self, bounded: int, billed: int) -> None:
        """Raise the overhead by what a bill exceeded its bound."""
        if billed > bounded:
            self.per_request += billed - bounded


def _message_bound(message: Message, overhead: Overhead) -> int:
    total = overhead.per_message + text_bound(message.content)
    for call in message.tool_calls:
        total += text_bound(call.id) + text_bound(call.name) + text_bound(call.arguments)
    if message.tool_call_id:
        total += text_bound(message.tool_call_id)
    for owner, value in (message.opaque or {}).items():
        if owner != "sashizu":  # the brief for programs; never sent
            total += text_bound(dumps(value, ensure_ascii=False))
    return total


def _messages_bound(messages: Iterable[Message], overhead: Overhead) -> int:
    return sum(_message_bound(message, overhead) for message in messages)


def _tools_bound(tools: Iterable[ToolSchema], overhead: Overhead) -> int:
    return sum(
        overhead.per_tool
        + text_bound(tool.name)
        + text_bound(tool.description)
        + text_bound(dumps(tool.parameters, ensure_ascii=False))
        for tool in tools
    )


def bound_of(
    request: ModelRequest,
    overhead: Overhead,
    *,
    output_cap: int,
    context_window: int | None = None,
) -> Bound:
    """Bound a request.

    With a qualifying previous call: its billed input, plus its reasoning tokens, plus the text of
    what was added since, the answer included. Otherwise the text of everything. Either gets the
    overhead, so that what was learned counts in both, and is capped by the context window.
    `output_cap` is the cap that is sent with the request.
    """
    previous = request.previous
    if (
        previous is not None
        and previous.tools == request.tools
        and previous.output_schema == request.output_schema
        and previous.effort == request.effort
        and request.messages[: len(previous.messages)] == previous.messages
    ):
        added = request.messages[len(previous.messages) :]
        tokens = (
            previous.usage.input_tokens
            + previous.usage.reasoning_tokens
            + overhead.per_request
            + _messages_bound(added, overhead)
        )
        rule = "previous call + text added"
    else:
        tokens = (
            overhead.per_request
            + _messages_bound(request.messages, overhead)
            + _tools_bound(request.tools, overhead)
        )
        if request.output_schema is not None:
            tokens += text_bound(dumps(request.output_schema, ensure_ascii=False))
        rule = "text of everything"
    if context_window is not None and tokens > context_window:
        tokens = context_window
        rule = "context window"
    return Bound(tokens, output_cap, rule)

"""How the offline model counts: it has no tokenizer, so four bytes of UTF-8 are a token.

The count is honest in that it grows with everything that is sent and written, and it can be checked
by hand. Roles and brackets are not counted.
"""

from __future__ import annotations

from json import dumps

from sashizu_core.types import Message, ModelRequest

__all__ = ["BYTES_PER_TOKEN", "input_tokens", "message_tokens", "spent_before", "text_tokens"]

BYTES_PER_TOKEN = 4


def text_tokens(text: str) -> int:
    """Bytes by four, rounded up: never more than there are bytes."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def message_tokens(message: Message) -> int:
    """The text, the tool calls and the ids of a message."""
    total = text_tokens(message.content) + text_tokens(message.tool_call_id)
    for call in message.tool_calls:
        total += text_tokens(call.id) + text_tokens(call.name) + text_tokens(call.arguments)
    return total


def _fixed_tokens(request: ModelRequest) -> int:
    total = sum(
        text_tokens(tool.name)
        + text_tokens(tool.description)
        + text_tokens(dumps(tool.parameters, ensure_ascii=False))
        for tool in request.tools
    )
    if request.output_schema is not None:
        total += text_tokens(dumps(request.output_schema, ensure_ascii=False))
    return total


def input_tokens(request: ModelRequest) -> int:
    """Everything that is sent: all messages, the tools and the schema of the answer."""
    return _fixed_tokens(request) + sum(map(message_tokens, request.messages))


def spent_before(request: ModelRequest) -> int:
    """What the earlier calls of this conversation used: each was sent all that came before it."""
    sent, total = _fixed_tokens(request), 0
    for message in request.messages:
        size = message_tokens(message)
        if message.role == "assistant":
            total += sent + size
        sent += size
    return total

"""Results of tools that are cut to the size that a conversation has room for."""

from __future__ import annotations

from collections.abc import Sequence

from sashizu_core.bounds import text_bound
from sashizu_core.types import Message

__all__ = ["MAX_RESULT_BYTES", "cut_results", "cut_text"]

MAX_RESULT_BYTES = 256 * 1024
"""The most of one tool result that enters a conversation, in UTF-8 bytes."""


def cut_text(text: str, most: int) -> str:
    """The beginning of a text, at most so many UTF-8 bytes, with a note of what is missing."""
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= most:
        return text
    note = f"\n[cut: {len(data)} bytes in all]"
    kept = data[: max(0, most - len(note))].decode("utf-8", "ignore")
    return kept + note


def cut_results(messages: Sequence[Message], room: int) -> list[Message]:
    """Cut tool results so that their texts together are bounded by `room` tokens.

    The longest are cut first, so that short answers survive.
    """
    sizes = [text_bound(message.content) for message in messages]
    if sum(sizes) <= room:
        return list(messages)
    share, left = 0, room
    for count, size in zip(range(len(sizes), 0, -1), sorted(sizes), strict=True):
        share = left // count
        if size > share:
            break
        left -= size
    return [
        message
        if size <= share
        else Message(
            "tool",
            cut_text(message.content, max(share, 0)),
            tool_call_id=message.tool_call_id,
            is_error=message.is_error,
        )
        for message, size in zip(messages, sizes, strict=True)
    ]

"""Shows a conversation that was kept, as if it happened once more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from acp.helpers import (
    start_tool_call,
    text_block,
    tool_content,
    update_agent_message_text,
    update_user_message_text,
)
from sashizu_core.types import Message, ToolCall

from sashizu_mcp_server.acp.telling import (
    SHOWN_CHARACTERS,
    arguments_of,
    kind_of,
    locations_of,
    title_of,
)

__all__ = ["replayed"]


def replayed(messages: Sequence[Message], root: Path) -> Iterator[Any]:
    """The updates that tell a conversation: what was said, called and answered, in order."""
    results = {message.tool_call_id: message for message in messages if message.role == "tool"}
    for number, message in enumerate(messages):
        if message.role == "user" and message.content:
            yield update_user_message_text(message.content)
        elif message.role == "assistant":
            if message.content:
                yield update_agent_message_text(message.content)
            for call in message.tool_calls:
                yield _called(call, results.get(call.id), root, f"past:{number}:{call.id}")


def _called(call: ToolCall, result: Message | None, root: Path, name: str) -> Any:
    arguments = arguments_of(call.arguments)
    text = result.content[:SHOWN_CHARACTERS] if result is not None else ""
    failed = result is None or result.is_error
    return start_tool_call(
        name,
        title_of(call.name, arguments),
        kind=kind_of(call.name),
        status="failed" if failed else "completed",
        content=[tool_content(text_block(text))] if text else None,
        locations=locations_of(arguments, root),
        raw_input=arguments or None,
    )

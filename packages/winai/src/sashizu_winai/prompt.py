"""A conversation as one text, and tool calls as JSON of a schema: what Windows takes and gives.

The on-device model takes one prompt and knows no tools. So the conversation is written out, and
where there are tools the answer is asked for as JSON: either an answer, or one call.

A line in brackets says who speaks. A line of a message that begins like one is moved in by a space,
so that no file and no answer of a tool can speak as somebody else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from sashizu_core.types import Message, ModelRequest, ToolCall, ToolSchema

__all__ = ["parsed_answer", "prompt_of", "schema_of"]

_LIKE_A_SPEAKER = re.compile(r"(^|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])(?=\[)")


def prompt_of(request: ModelRequest) -> str:
    """The conversation, tools included, as one text that ends where the answer begins."""
    parts = [_told(message) for message in request.messages]
    if request.tools:
        tools = "\n".join(_described(tool) for tool in request.tools)
        parts.insert(
            0,
            "[tools]\nAnswer in JSON: either an object with 'answer', or one with 'tool' and "
            f"'arguments' to call a tool.\n{tools}",
        )
    return "\n\n".join([*parts, "[assistant]"])


def schema_of(request: ModelRequest) -> Mapping[str, Any] | None:
    """The JSON Schema of the answer; None where it is plain text."""
    if not request.tools:
        return request.output_schema
    final = request.output_schema or {"type": "string"}
    return {"anyOf": [_object(answer=final), *(_called(tool) for tool in request.tools)]}


def parsed_answer(text: str, request: ModelRequest) -> Message | None:
    """The message that the model's text stands for; None where it does not fit the schema.

    An output of the agent's schema stays the JSON text that it is.
    """
    if not request.tools:
        return Message("assistant", text)
    try:
        found = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    if isinstance(name := found.get("tool"), str):
        known = {tool.name for tool in request.tools}
        arguments = found.get("arguments")
        if name not in known or not isinstance(arguments, dict):
            return None
        call = ToolCall(f"call_{uuid4().hex}", name, json.dumps(arguments, ensure_ascii=False))
        return Message("assistant", "", (call,))
    if "answer" not in found:
        return None
    answer = found["answer"]
    if isinstance(answer, str) and request.output_schema is None:
        return Message("assistant", answer)
    if request.output_schema is None:
        return None
    return Message("assistant", json.dumps(answer, ensure_ascii=False))


def _told(message: Message) -> str:
    if message.role == "tool":
        failed = ", failed" if message.is_error else ""
        return f"[tool result {_word(message.tool_call_id)}{failed}]\n{_quoted(message.content)}"
    calls = "".join(
        "\n" + json.dumps(_call(call), ensure_ascii=False) for call in message.tool_calls
    )
    return f"[{message.role}]\n{_quoted(message.content)}{calls}"


def _call(call: ToolCall) -> dict[str, str]:
    return {"tool": call.name, "arguments": call.arguments, "id": call.id}


def _quoted(text: str) -> str:
    return _LIKE_A_SPEAKER.sub(r"\1 ", text)


def _word(text: str | None) -> str:
    return "".join(char for char in text or "" if char.isalnum() or char in "-_")


def _described(tool: ToolSchema) -> str:
    return json.dumps(
        {"tool": tool.name, "for": tool.description, "arguments": tool.parameters},
        ensure_ascii=False,
    )


def _called(tool: ToolSchema) -> dict[str, Any]:
    return _object(tool={"const": tool.name}, arguments=tool.parameters)


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }

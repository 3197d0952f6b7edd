"""Chat Completions: requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sashizu_core.types import Message, ModelRequest, ToolSchema

from sashizu_openai.api import OPAQUE, OnText, join_body, output_format
from sashizu_openai.chat_answer import ChatAnswer
from sashizu_openai.encodings import dump_json
from sashizu_openai.endpoints import Endpoint
from sashizu_openai.names import own_names, wire_name

__all__ = ["ChatApi"]


class ChatApi:
    """Chat Completions for one model at one endpoint."""

    path = "/chat/completions"

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self._model = model

    def encode_message(self, message: Message) -> bytes:
        wire: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            wire["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": wire_name(call.name), "arguments": call.arguments},
                }
                for call in message.tool_calls
            ]
        if message.role == "tool":
            wire["tool_call_id"] = message.tool_call_id
        kept = (message.opaque or {}).get(OPAQUE)
        if isinstance(kept, dict) and kept.get("from") == self._origin:
            wire |= kept.get("fields", {})
        return dump_json(wire)

    def encode_tools(self, tools: Sequence[ToolSchema]) -> bytes:
        return b",".join(
            dump_json(
                {
                    "type": "function",
                    "function": {
                        "name": wire_name(tool.name),
                        "description": tool.description,
                        "parameters": tool.parameters,
                    },
                }
            )
            for tool in tools
        )

    def body(self, request: ModelRequest, cap: int, messages: bytes, tools: bytes) -> bytes:
        fields: dict[str, Any] = {
            "model": self._model,
            "stream": True,
            "stream_options": {"include_usage": True},
            self._endpoint.output_cap_name: cap,
        }
        if request.effort is not None:
            fields["reasoning_effort"] = request.effort
        if request.output_schema is not None:
            schema = output_format(request.output_schema)
            fields["response_format"] = {"type": "json_schema", "json_schema": schema}
        encoded = {"messages": messages}
        if tools:
            encoded["tools"] = tools
        return join_body(fields, encoded)

    def answer(self, request: ModelRequest, on_text: OnText | None) -> ChatAnswer:
        return ChatAnswer(own_names(request.tools), on_text, self._origin)

    @property
    def _origin(self) -> str:
        return f"{self._endpoint.base_url} {self._model}"

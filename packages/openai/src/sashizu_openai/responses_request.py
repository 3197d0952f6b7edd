"""Responses: requests. Stateless: nothing is stored, and what a model wants back it gets back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sashizu_core.types import Message, ModelRequest, ToolCall, ToolSchema

from sashizu_openai.api import OPAQUE, OnText, join_body, output_format
from sashizu_openai.encodings import dump_json
from sashizu_openai.endpoints import Endpoint
from sashizu_openai.names import own_names, wire_name
from sashizu_openai.responses_answer import ResponsesAnswer

__all__ = ["COUNT_PATH", "ResponsesApi"]

COUNT_PATH = "/responses/input_tokens"

_WITHOUT_REASONING = ("gpt-4", "gpt-3.5", "chatgpt-4")
"""How the names of models begin that refuse to be asked for their reasoning."""


class ResponsesApi:
    """Responses for one model at one endpoint."""

    path = "/responses"

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._endpoint = endpoint
        self._model = model
        reasons = endpoint.encrypted_reasoning
        if reasons is None:
            reasons = not model.startswith(_WITHOUT_REASONING)
        self._include = ["reasoning.encrypted_content"] if reasons else None

    def encode_message(self, message: Message) -> bytes:
        return b",".join(map(dump_json, self._items(message)))

    def _items(self, message: Message) -> Iterator[dict[str, Any]]:
        if message.role == "tool":
            yield {
                "type": "function_call_output",
                "call_id": message.tool_call_id,
                "output": message.content,
            }
            return
        if message.role != "assistant":
            yield {"type": "message", "role": message.role, "content": message.content}
            return
        kept = (message.opaque or {}).get(OPAQUE)
        if isinstance(kept, dict) and kept.get("from") == self._origin:
            yield from _as_it_was(message, kept.get("items", ()))
        else:
            yield from _anew(message.content, message.tool_calls)

    def encode_tools(self, tools: Sequence[ToolSchema]) -> bytes:
        return b",".join(
            dump_json(
                {
                    "type": "function",
                    "name": wire_name(tool.name),
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": False,  # the schema need not fit the provider's subset
                }
            )
            for tool in tools
        )

    def body(self, request: ModelRequest, cap: int, messages: bytes, tools: bytes) -> bytes:
        fields: dict[str, Any] = {"stream": True, "store": False}
        fields[self._endpoint.output_cap_name] = cap
        if self._include is not None:
            fields["include"] = self._include
        return self._join(request, fields, messages, tools)

    def count_body(self, request: ModelRequest, messages: bytes, tools: bytes) -> bytes:
        """The body of a question for the number of input tokens."""
        return self._join(request, {}, messages, tools)

    def _join(
        self, request: ModelRequest, fields: dict[str, Any], messages: bytes, tools: bytes
    ) -> bytes:
        fields["model"] = self._model
        if request.effort is not None:
            fields["reasoning"] = {"effort": request.effort}
        if request.output_schema is not None:
            form = {"type": "json_schema", **output_format(request.output_schema)}
            fields["text"] = {"format": form}
        encoded = {"input": messages}
        if tools:
            encoded["tools"] = tools
        return join_body(fields, encoded)

    def answer(self, request: ModelRequest, on_text: OnText | None) -> ResponsesAnswer:
        return ResponsesAnswer(own_names(request.tools), on_text, self._origin)

    @property
    def _origin(self) -> str:
        return f"{self._endpoint.base_url} {self._model}"


def _anew(content: str, calls: Sequence[ToolCall]) -> Iterator[dict[str, Any]]:
    if content:
        yield {"type": "message", "role": "assistant", "content": content}
    for call in calls:
        yield _function_call(call)


def _as_it_was(message: Message, kept: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The items of an earlier answer in their order; texts and calls are those of the message."""
    text = message.content
    calls = list(message.tool_calls)
    for item in kept:
        match item.get("type"):
            case "message":
                length = item.get("length", 0)
                said, text = text[:length], text[length:]
                yield {
                    "type": "message",
                    "role": "assistant",
                    "status": "completed",
                    "content": [{"type": "output_text", "text": said, "annotations": []}],
                    **item.get("fields", {}),
                }
            case "function_call":
                if calls:
                    yield _function_call(calls.pop(0)) | item.get("fields", {})
            case _:
                yield item
    yield from _anew(text, calls)


def _function_call(call: ToolCall) -> dict[str, Any]:
    return {
        "type": "function_call",
        "call_id": call.id,
        "name": wire_name(call.name),
        "arguments": call.arguments,
    }

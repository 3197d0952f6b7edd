"""OpenAI's Responses API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sashizu_core.types import FinishReason

from sashizu_gateway.dialects.dialect import Dialect, Rules
from sashizu_gateway.dialects.found import Found, openai_usage
from sashizu_gateway.dialects.hosted import drop, kept_tools, refuse_keys
from sashizu_gateway.dialects.openai_errors import openai_error
from sashizu_gateway.dialects.refusals import RequestRefused

__all__ = ["Responses"]

_AT_CLIENT = frozenset({"function", "custom", "local_shell", "apply_patch"})
_ENDS = (b'"response.completed"', b'"response.incomplete"', b'"response.failed"')
MOST_ITEMS = 1000
"""Items of an answer whose ids are looked at."""

_STATE = ("previous_response_id", "conversation", "prompt", "background")


class Responses(Dialect):
    """`POST /responses`, with the count of tokens beside it."""

    name = "responses"
    provider = "openai"
    path = "/responses"
    count_path = "/responses/input_tokens"
    items = "input"
    cap_names = ("max_output_tokens",)
    untold = frozenset(
        {
            *("client_metadata", "include", "max_output_tokens", "max_tool_calls", "metadata"),
            *("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier"),
            *("store", "stream", "stream_options", "temperature", "top_logprobs", "top_p", "user"),
        }
    )
    counted_keys: ClassVar[frozenset[str]] = frozenset(
        {
            *("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls"),
            *("reasoning", "text", "truncation"),
        }
    )

    def restrict(self, body: dict[str, Any], rules: Rules) -> list[str]:
        removed: list[str] = []
        if rules.counted:
            refuse_keys(body, _STATE)
            drop(body, ("context_management",), removed)
            kept_tools(body, self.runs_at_client, removed)
        if rules.priced and body.get("service_tier") not in (None, "auto", "default", "flex"):
            drop(body, ("service_tier",), removed)
        return removed

    def runs_at_client(self, tool: Any) -> bool:
        if not isinstance(tool, dict):
            return False
        kind = tool.get("type")
        if kind == "shell":
            place = tool.get("environment")
            return not isinstance(place, dict) or place.get("type") == "local"
        if kind == "tool_search":
            return tool.get("execution") == "client"
        return isinstance(kind, str) and kind in _AT_CLIENT

    def matters(self, data: bytes, *, text: bool) -> bool:
        if any(end in data for end in _ENDS):
            return True
        return (text and b".delta" in data) or b'"error"' in data

    def read_event(self, event: Any, found: Found) -> None:
        if not isinstance(event, dict):
            return
        match event.get("type"):
            case "response.output_text.delta" | "response.function_call_arguments.delta":
                found.add(event.get("delta"))
            case "response.completed" | "response.incomplete" | "response.failed":
                answer = event.get("response")
                self._read_answer(answer if isinstance(answer, dict) else {}, found)
            case "error":
                found.failed = str(event.get("message") or event.get("code") or "error")[:300]

    def read_whole(self, answer: Any, found: Found) -> None:
        if not isinstance(answer, dict):
            return
        for item in _list(answer.get("output")):
            for part in _list(item.get("content")) if isinstance(item, dict) else ():
                if isinstance(part, dict):
                    found.add(part.get("text"))
        self._read_answer(answer, found)

    def _read_answer(self, answer: Mapping[str, Any], found: Found) -> None:
        found.end(0)
        found.usage = openai_usage(answer.get("usage"))
        found.model = str(answer.get("model") or "")[:200]
        found.response_id = str(answer.get("id") or "")[:200]
        if answer.get("status") == "failed":
            error = answer.get("error")
            told = error.get("message") if isinstance(error, dict) else None
            found.failed = str(told or "the provider failed")[:300]
        found.finish = _finish(answer)
        found.thoughts = [
            str(item["id"])
            for item in _list(answer.get("output"))[:MOST_ITEMS]
            if isinstance(item, dict) and item.get("type") == "reasoning" and item.get("id")
        ]

    def error(self, refused: RequestRefused) -> dict[str, Any]:
        return openai_error(refused)


def _finish(answer: Mapping[str, Any]) -> FinishReason:
    details = answer.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    if reason == "content_filter":
        return "content_filter"
    if reason is not None:
        return "length"
    kinds = {item.get("type") for item in _list(answer.get("output")) if isinstance(item, dict)}
    called = {"function_call", "custom_tool_call", "local_shell_call", "shell_call"} & kinds
    return "tool_calls" if called else "stop"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []

"""Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sashizu_core.types import FinishReason

from sashizu_gateway.dialects.dialect import Dialect, Rules
from sashizu_gateway.dialects.found import Found, anthropic_usage
from sashizu_gateway.dialects.hosted import drop, kept_tools, refuse_keys
from sashizu_gateway.dialects.refusals import Kind, RequestRefused

__all__ = ["Messages"]

_TYPES: Mapping[Kind, str] = {
    "unauthorized": "authentication_error",
    "not_found": "not_found_error",
    "too_large": "request_too_large",
    "denied": "permission_error",
    "busy": "rate_limit_error",
    "unreachable": "api_error",
    "ended": "overloaded_error",
    "broken": "api_error",
}
_FINISHES: Mapping[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_AT_CLIENT = ("bash_", "text_editor_", "computer_", "memory_")
"""How types of tools begin that the provider describes and the client runs."""

_LEAST_THOUGHT = 1024
"""The least that can be set aside for thinking, in tokens."""


class Messages(Dialect):
    """`POST /messages`, with the count of tokens beside it."""

    name = "messages"
    provider = "anthropic"
    path = "/messages"
    count_path = "/messages/count_tokens"
    items = "messages"
    cap_names = ("max_tokens",)
    untold: ClassVar[frozenset[str]] = frozenset(
        {
            *("max_tokens", "metadata", "service_tier", "speed", "stop_sequences", "stream"),
            *("temperature", "top_k", "top_p"),
        }
    )
    counted_keys: ClassVar[frozenset[str]] = frozenset(
        {"model", "messages", "system", "tools", "tool_choice", "thinking", "output_config"}
    )

    def plain(self, item: Any) -> Any:
        """Clients move the marks of what is to be cached; the text stays the same."""
        content = item.get("content") if isinstance(item, dict) else None
        if not isinstance(content, list):
            return item
        if not any(isinstance(part, dict) and "cache_control" in part for part in content):
            return item
        return {**item, "content": [_unmarked(part) for part in content]}

    def put_cap(self, body: dict[str, Any], cap: int) -> None:
        super().put_cap(body, cap)
        thinking = body.get("thinking")
        if not isinstance(thinking, dict):
            return
        aside = thinking.get("budget_tokens")
        if isinstance(aside, int) and aside >= cap:
            if cap > _LEAST_THOUGHT:
                body["thinking"] = {**thinking, "budget_tokens": max(_LEAST_THOUGHT, cap // 2)}
            else:
                body["thinking"] = {"type": "disabled"}

    def restrict(self, body: dict[str, Any], rules: Rules) -> list[str]:
        removed: list[str] = []
        if rules.counted:
            refuse_keys(body, ("container",))
            drop(body, ("mcp_servers",), removed)
            _without_compaction(body, removed)
            kept_tools(body, self.runs_at_client, removed)
        if rules.priced:
            drop(body, ("speed", "inference_geo"), removed)
            _cached_as_listed(body, removed)
            if body.get("service_tier") not in (None, "standard_only"):
                body["service_tier"] = "standard_only"
                removed.append("service_tier")
        return removed

    def with_margin(self, tokens: int) -> int:
        """The service calls its count an estimate, which bills may exceed by a little."""
        return tokens + 128 + tokens // 50

    def runs_at_client(self, tool: Any) -> bool:
        if not isinstance(tool, dict):
            return False
        kind = tool.get("type")
        return kind in (None, "custom") or (isinstance(kind, str) and kind.startswith(_AT_CLIENT))

    def matters(self, data: bytes, *, text: bool) -> bool:
        if b'"message_start"' in data or b'"message_delta"' in data or b'"error"' in data:
            return True
        return text and b'"content_block_delta"' in data

    def read_event(self, event: Any, found: Found) -> None:
        if not isinstance(event, dict):
            return
        match event.get("type"):
            case "message_start":
                self._began(event.get("message"), found)
            case "message_delta":
                self._went_on(event, found)
            case "content_block_delta":
                delta = event.get("delta")
                if isinstance(delta, dict):
                    found.add(delta.get("text") or delta.get("partial_json"))
            case "error":
                error = event.get("error")
                told = error.get("message") if isinstance(error, dict) else None
                found.failed = str(told or "error")[:300]

    def _began(self, message: Any, found: Found) -> None:
        if isinstance(message, dict):
            found.model = str(message.get("model") or "")[:200]
            found.response_id = str(message.get("id") or "")[:200]
            found.usage = anthropic_usage(message.get("usage"))

    def _went_on(self, event: dict[str, Any], found: Found) -> None:
        """The last count of output is that of all of it; input may be told again, or not."""
        told = event.get("usage")
        if isinstance(told, dict):
            found.counted = found.counted or told.get("output_tokens") is not None
            before = found.usage
            known: dict[str, Any] = {}
            if before is not None:
                known = {
                    "input_tokens": before.input_tokens
                    - before.cache_read_tokens
                    - before.cache_write_tokens,
                    "cache_read_input_tokens": before.cache_read_tokens,
                    "cache_creation_input_tokens": before.cache_write_tokens,
                }
            given = {name: value for name, value in told.items() if value is not None}
            found.usage = anthropic_usage({**known, **given}) or found.usage
        delta = event.get("delta")
        reason = delta.get("stop_reason") if isinstance(delta, dict) else None
        if isinstance(reason, str):
            found.finish = _FINISHES.get(reason, "stop")
            found.end(0)
            if not found.counted:  # what was told at the beginning is no bill
                found.usage = None

    def read_whole(self, answer: Any, found: Found) -> None:
        if not isinstance(answer, dict):
            return
        self._began(answer, found)
        for part in answer.get("content") or ():
            if isinstance(part, dict):
                found.add(part.get("text"))
        found.finish = _FINISHES.get(str(answer.get("stop_reason")), "stop")
        found.end(0)

    def error(self, refused: RequestRefused) -> dict[str, Any]:
        kind = _TYPES.get(refused.kind, "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": refused.message}}


def _unmarked(part: Any) -> Any:
    if not isinstance(part, dict) or "cache_control" not in part:
        return part
    return {name: value for name, value in part.items() if name != "cache_control"}


def _cached_as_listed(body: dict[str, Any], removed: list[str]) -> None:
    """Have nothing kept in a cache for longer than usual, which costs more than prices say."""
    waiting: list[Any] = [body]
    before = len(removed)
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        if not isinstance(found, dict):
            continue
        mark = found.get("cache_control")
        if isinstance(mark, dict) and mark.get("ttl") not in (None, "5m"):
            found["cache_control"] = {key: mark[key] for key in mark if key != "ttl"}
            removed[before:] = ["cache_control.ttl"]
        waiting += [value for name, value in found.items() if name not in _FOREIGN]


_FOREIGN = frozenset({"cache_control", "input", "input_schema"})
"""Where nothing of the API itself lies."""


def _without_compaction(body: dict[str, Any], removed: list[str]) -> None:
    """Leave out what would have the provider ask the model once more."""
    management = body.get("context_management")
    edits = management.get("edits") if isinstance(management, dict) else None
    if management is None or not isinstance(edits, list):
        drop(body, ("context_management",), removed)
        return
    kept = [
        edit
        for edit in edits
        if isinstance(edit, dict) and str(edit.get("type")).startswith("clear_")
    ]
    if len(kept) < len(edits):
        body["context_management"] = {**management, "edits": kept}
        removed.append("context_management")

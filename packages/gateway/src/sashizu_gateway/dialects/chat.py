"""OpenAI's Chat Completions, as many services speak it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from sashizu_core.types import FinishReason

from sashizu_gateway.dialects.dialect import Dialect, Rules
from sashizu_gateway.dialects.found import Found, openai_usage
from sashizu_gateway.dialects.hosted import drop, kept_tools, refuse_keys
from sashizu_gateway.dialects.openai_errors import openai_error
from sashizu_gateway.dialects.refusals import RequestRefused

__all__ = ["ChatCompletions"]

MOST_CHOICES = 128

_FINISHES: Mapping[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


class ChatCompletions(Dialect):
    """`POST /chat/completions`."""

    name = "chat"
    provider = "openai"
    path = "/chat/completions"
    items = "messages"
    cap_names = ("max_completion_tokens", "max_tokens")
    untold: ClassVar[frozenset[str]] = frozenset(
        {
            *("frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens"),
            *("max_tokens", "metadata", "n", "presence_penalty", "prompt_cache_key"),
            *("prompt_cache_retention", "safety_identifier", "seed", "service_tier", "stop"),
            *("store", "stream", "stream_options", "temperature", "top_logprobs", "top_p", "user"),
        }
    )

    def choices(self, body: Mapping[str, Any]) -> int:
        asked = body.get("n")
        if asked is None:
            return 1
        if not isinstance(asked, int) or isinstance(asked, bool) or not 1 <= asked <= MOST_CHOICES:
            raise RequestRefused("malformed", f"'n' has to be a number from 1 to {MOST_CHOICES}")
        return asked

    def restrict(self, body: dict[str, Any], rules: Rules) -> list[str]:
        removed: list[str] = []
        if rules.counted:
            refuse_keys(body, ("audio",))
            if _asks_for_more_than_text(body.get("modalities")):
                raise RequestRefused("unbounded", "answers other than text are not forwarded")
            drop(body, ("web_search_options", "prediction"), removed)
            kept_tools(body, self.runs_at_client, removed)
        if rules.priced and body.get("service_tier") not in (None, "auto", "default", "flex"):
            drop(body, ("service_tier",), removed)
        return removed

    def tell_usage(self, body: dict[str, Any]) -> bool:
        if body.get("stream") is not True:
            return False
        options = body.get("stream_options")
        options = options if isinstance(options, dict) else {}
        if options.get("include_usage") is True:
            return False
        body["stream_options"] = {**options, "include_usage": True}
        return True

    def runs_at_client(self, tool: Any) -> bool:
        return isinstance(tool, dict) and tool.get("type") in ("function", "custom")

    def matters(self, data: bytes, *, text: bool) -> bool:
        if text:
            return True
        told = b'"usage"' in data and b'"usage":null' not in data and b'"usage": null' not in data
        finishes = b'"finish_reason":"' in data or b'"finish_reason": "' in data
        return told or finishes or b'"error"' in data

    def read_event(self, event: Any, found: Found) -> None:
        if not isinstance(event, dict):
            return
        self._read(event, found, "delta")
        if isinstance(error := event.get("error"), dict):
            found.failed = str(error.get("message") or "error")[:300]

    def read_whole(self, answer: Any, found: Found) -> None:
        if isinstance(answer, dict):
            self._read(answer, found, "message")
            found.end(*range(MOST_CHOICES))

    def _read(self, event: dict[str, Any], found: Found, where: str) -> None:
        found.model = found.model or str(event.get("model") or "")[:200]
        found.response_id = found.response_id or str(event.get("id") or "")[:200]
        for choice in event.get("choices") or ():
            if not isinstance(choice, dict):
                continue
            if isinstance(said := choice.get(where), dict):
                found.add(said.get("content"))
            if isinstance(reason := choice.get("finish_reason"), str):
                found.finish = _FINISHES.get(reason, "stop")
                place = choice.get("index")
                found.end(place if isinstance(place, int) and place < MOST_CHOICES else 0)
        if (usage := openai_usage(event.get("usage"))) is not None:
            found.usage = usage

    def is_extra(self, event: Any) -> bool:
        return isinstance(event, dict) and event.get("choices") == [] and "usage" in event

    def error(self, refused: RequestRefused) -> dict[str, Any]:
        return openai_error(refused)


def _asks_for_more_than_text(modalities: Any) -> bool:
    return isinstance(modalities, list) and any(kind != "text" for kind in modalities)

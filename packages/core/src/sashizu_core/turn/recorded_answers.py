"""What the outside answered an agent, as its record tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sashizu_core.errors import ModelError
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.recorded_step import RecordedStep
from sashizu_core.types import Completion, Message, ToolCall, ToolResult, Usage

__all__ = ["completion_of", "result_of"]

Fields = Mapping[str, Any]


def completion_of(past: AgentPast, step: RecordedStep) -> Completion:
    """What a model answered.

    Raises:
        ModelError: the attempt failed, as it did then.
    """
    outcome = step.outcome
    attrs = outcome.get("attrs") or {}
    if outcome["kind"] == "model.failed":
        raise ModelError(
            f"recorded: {outcome.get('error_type')}",
            fault=outcome.get("error_type") or "transport",
            sent=bool(step.first("budget.settled")),
            retry_after_s=attrs.get("retry_after_s"),
            usage=_usage(outcome),
            status=attrs.get("http_status"),
        )
    told = json.loads(past.content(outcome))
    message = Message(
        "assistant",
        told["content"],
        tuple(ToolCall(*call) for call in told["tool_calls"]),
        opaque=told.get("opaque"),
    )
    return Completion(
        message,
        _usage(outcome),
        outcome["finish_reason"],
        outcome.get("model_used") or "",
        outcome.get("response_id") or "",
        outcome.get("ttft_ns"),
        str(attrs.get("backend") or ""),
    )


def result_of(past: AgentPast, step: RecordedStep) -> ToolResult:
    """What a tool answered."""
    outcome = step.outcome
    return ToolResult(
        past.content(outcome),
        outcome.get("status") != "ok",
        outcome.get("error_type") or "",
        str((outcome.get("attrs") or {}).get("backend") or ""),
    )


def _usage(outcome: Fields) -> Usage | None:
    if outcome.get("input_tokens") is None:
        return None
    return Usage(
        int(outcome["input_tokens"]),
        int(outcome.get("output_tokens") or 0),
        int(outcome.get("cache_read_tokens") or 0),
        int(outcome.get("cache_write_tokens") or 0),
        int(outcome.get("reasoning_tokens") or 0),
    )

"""What came of an attempt at a model call: recorded as answered or failed, and booked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sashizu_core.errors import ModelError
from sashizu_core.events import Event
from sashizu_core.protocols import Model
from sashizu_core.turn.bills import Attempt, Bills
from sashizu_core.turn.record import Recorder
from sashizu_core.types import Completion, Usage

__all__ = ["ModelOutcomes"]


@dataclass(frozen=True, slots=True)
class ModelOutcomes:
    """The events that end the attempts of one model; `fields` are the columns that name it."""

    model: Model
    fields: Mapping[str, Any]
    recorder: Recorder
    bills: Bills

    def answered(
        self,
        attempt: Attempt,
        completion: Completion,
        took_ns: int,
        paid: Mapping[str, Any] | None = None,
    ) -> Sequence[Event]:
        """Record an answer, and book it; `paid` are the columns of what was booked for it then."""
        usage = completion.usage
        recorder = self.recorder
        fields: dict[str, Any] = {
            "step": attempt.seq,
            "step_kind": "model",
            **self.fields,
            "status": "ok",
            "duration_ns": took_ns,
            "finish_reason": completion.finish_reason,
        }
        if completion.model:
            fields["model_used"] = completion.model
        if completion.backend:
            fields["attrs"] = {"backend": completion.backend}
        if completion.response_id:
            fields["response_id"] = completion.response_id
        if completion.ttft_ns is not None:
            fields["ttft_ns"] = completion.ttft_ns
        if usage is not None:
            self.model.learn(attempt.bound, usage)
            fields |= _usage_fields(usage)
        if recorder.keeps_content:
            message = completion.message
            calls = [[call.id, call.name, call.arguments] for call in message.tool_calls]
            told: dict[str, Any] = {"content": message.content, "tool_calls": calls}
            if message.opaque:
                told["opaque"] = dict(message.opaque)
            fields |= recorder.keep(json.dumps(told), last_words=True)
        settled = self.bills.settle(self.model, attempt, usage)
        if settled:
            fields["cost_nusd"] = _cost_of(settled)
            fields |= self.bills.price(self.model)
        fields |= paid or {}
        return [recorder.event("model.answered", fields), *settled]

    def failed(
        self,
        attempt: Attempt,
        error: BaseException,
        took_ns: int,
        paid: Mapping[str, Any] | None = None,
    ) -> Sequence[Event]:
        """Record a failure, and book what it cost; `paid` as in `answered`."""
        fault = error if isinstance(error, ModelError) else None
        fields: dict[str, Any] = {
            "step": attempt.seq,
            "step_kind": "model",
            **self.fields,
            "status": "error" if fault else "cancelled",
            "error_type": fault.fault if fault else "cancelled",
            "duration_ns": took_ns,
        }
        if fault is not None and (told := _told(fault)):
            fields["attrs"] = told
        usage = fault.usage if fault else None
        if usage is not None:
            fields |= _usage_fields(usage)
        # A cancelled attempt may have reached the provider: it is charged.
        sent = fault is None or fault.sent
        if sent or usage:
            settled = self.bills.settle(self.model, attempt, usage)
        elif fault is not None and fault.status is not None:
            no_tokens = Usage()  # an error status: a request
            settled = self.bills.settle(self.model, attempt, no_tokens)
        else:
            settled = self.bills.release(attempt)
        if sent or usage:
            fields |= self.bills.price(self.model)
            if usage is not None and settled:  # without a bill, the cost is that of the hold
                fields["cost_nusd"] = _cost_of(settled)
        fields |= paid or {}
        return [self.recorder.event("model.failed", fields), *settled]


def _cost_of(settled: Sequence[Event]) -> int:
    """What was booked, in 10⁻⁹ USD."""
    return int(settled[0].fields["attrs"]["nusd"])  # type: ignore[index]


def _told(fault: ModelError) -> dict[str, Any]:
    """What a service said of a failure."""
    said = {"http_status": fault.status, "retry_after_s": fault.retry_after_s}
    return {name: value for name, value in said.items() if value is not None}


def _usage_fields(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "tokens": usage.tokens,
    }

"""A provider's own count of a request: a call to the outside, so a step with a request reserved."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sashizu_core.events import Event
from sashizu_core.protocols import BudgetNode, Busy, Hold, Model, Refused
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import Amount, ModelRequest, StepKind

__all__ = ["provider_count"]

_ONE = Amount(requests=1)


async def provider_count(
    model: Model,
    steps: StepContext,
    node: BudgetNode,
    request: ModelRequest,
    on_sent: Callable[[], None],
) -> int | None:
    """The input tokens of a request as its provider counts them; None where that is not known.

    A model that counts by itself is just asked. One whose provider counts is sent the request, as a
    step of its own, after a call of `on_sent`; where no request is left to spend, it is not.
    """
    if not model.info.counts:
        return await model.count(request)
    hold = node.reserve(_ONE)
    if isinstance(hold, Busy | Refused):
        return None
    on_sent()
    return await _counted(model, steps, hold, request)


async def _counted(
    model: Model, steps: StepContext, hold: Hold, request: ModelRequest
) -> int | None:
    recorder = steps.recorder
    common = {
        "step": steps.next_seq(),
        "step_kind": "model",
        "op": "count_tokens",
        "provider": model.info.provider,
        "model": model.info.name,
    }

    def outcome(tokens: int | None, error: BaseException | None, took_ns: int) -> Sequence[Event]:
        hold.settle(_ONE)
        fields = {**common, "duration_ns": took_ns}
        if tokens is not None:
            told = {"status": "ok", "attrs": {"input_tokens": tokens}}
            return [recorder.event("model.answered", {**fields, **told})]
        kind = "error" if error is None else "cancelled"
        return [recorder.event("model.failed", {**fields, "status": kind, "error_type": kind})]

    intent = [recorder.event("model.requested", common)]
    return await steps.step(StepKind.MODEL, intent, lambda: model.count(request), outcome)

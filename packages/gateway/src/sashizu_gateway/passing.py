"""What is passed on without a model being asked: lists of models, and counts of tokens."""

from __future__ import annotations

import re
from typing import Any

import orjson
from sashizu_core.protocols import Busy, Refused
from sashizu_core.turn.inference import record_refusal, refusal
from sashizu_core.types import Amount, StepKind, Usage

from sashizu_gateway.asgi import Incoming
from sashizu_gateway.call import Call, along
from sashizu_gateway.dialects.refusals import RequestRefused
from sashizu_gateway.upstream import Unanswered, Upstream

__all__ = ["pass_count", "pass_models"]

_ONE = Amount(requests=1)
_PATH = re.compile(r"/models(?:/[A-Za-z0-9._:-]+){0,3}")


async def pass_models(request: Incoming, upstream: Upstream, path: str) -> None:
    """Pass on a question for the models that there are, which costs nothing.

    Raises:
        RequestRefused: it is none, or nobody answers.
    """
    if request.method != "GET":
        raise RequestRefused("method", "this path takes GET")
    if not _PATH.fullmatch(path) or ".." in path:
        raise RequestRefused("not_found", "there is no such model")
    try:
        await _pass(request, upstream, path, None)
    except Unanswered as error:
        if not request.begun:
            raise RequestRefused("unreachable", error.reason, retry_after_s=1) from error


async def pass_count(call: Call, body: dict[str, Any]) -> None:
    """Pass on a question for the number of tokens: a request, and a step on record.

    Raises:
        RequestRefused: no request is left, or nobody answers.
        RecordError: the record cannot be written.
    """
    dialect, agent, recorder = call.dialect, call.agent, call.agent.recorder
    assert dialect.count_path is not None
    path = dialect.count_path
    hold = agent.node.reserve(_ONE) if agent.node is not None else None
    if isinstance(hold, Busy):
        hold = Refused(hold.node, hold.unit, hold.asked, hold.left)
    if isinstance(hold, Refused):
        record_refusal(recorder, hold)
        raise RequestRefused("budget", str(refusal(hold)))
    provider, model = dialect.provider, f"{dialect.provider}/{body['model']}"
    common = {
        "step": agent.steps.next_seq(),
        "step_kind": "model",
        "op": "count_tokens",
        "provider": provider,
        "model": model,
    }

    async def ask() -> None:
        await _pass(call.request, call.upstream, path, orjson.dumps(body))

    def outcome(_: None, error: BaseException | None, took_ns: int) -> list[Any]:
        if hold is not None:
            hold.settle(_ONE)
        agent.used += Usage()
        fields = {**common, "duration_ns": took_ns, "status": "ok" if error is None else "error"}
        kind = "model.answered" if error is None else "model.failed"
        return [recorder.event(kind, fields)]

    intent = [recorder.event("model.requested", common)]
    try:
        await agent.steps.step(StepKind.MODEL, intent, ask, outcome)
    except Unanswered as error:
        if not call.request.begun:
            raise RequestRefused("unreachable", error.reason, retry_after_s=1) from error
    finally:
        recorder.flush()


async def _pass(request: Incoming, upstream: Upstream, path: str, body: bytes | None) -> None:
    """Ask the service, and pass its answer on.

    Raises:
        Unanswered: there is none, or it broke off.
    """
    headers = along(request)
    if body is not None:
        headers["content-type"] = "application/json"
    way = request.way_back()
    async with upstream.request(request.method, path, body, headers) as answer:
        kept = [pair for pair in answer.headers if pair[0] != "content-length"]
        await way.begin(answer.status, kept)
        if answer.status >= 300:
            await way.piece(upstream.without_secrets(await answer.beginning()))
        else:
            async for piece in answer.pieces():
                await way.piece(piece)
        await way.end()

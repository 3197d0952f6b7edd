"""The model `offline`: rules instead of a language model, behind the same contract."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from anyio import lowlevel
from sashizu_core.bounds import Overhead, bound_of
from sashizu_core.errors import ModelError
from sashizu_core.types import (
    Bound,
    Completion,
    Message,
    ModelInfo,
    ModelRequest,
    Usage,
)

from sashizu_offline.filling import filled_step
from sashizu_offline.plan import Step, next_step
from sashizu_offline.tokens import BYTES_PER_TOKEN, input_tokens, message_tokens

__all__ = ["OfflineModel"]

MAX_OUTPUT_TOKENS = 8_192
"""The longest answer: 32 KiB of text."""


class OfflineModel:
    """Deterministic and without state: the same messages and tools give the same answer.

    Usage is counted as `sashizu_offline.tokens` says. An answer that does not fit the output cap is
    written shorter and says so; where even its shortest form does not fit, it is cut, with the
    finish reason `length`.
    """

    def __init__(self, name: str) -> None:
        self._info = ModelInfo(
            name,
            "offline",
            max_output_tokens=MAX_OUTPUT_TOKENS,
            min_output_tokens=256,
            local=True,
            bills_tokens=False,
        )
        # Four bytes are a token, so the bytes of the text bound the count without any overhead.
        self._overhead = Overhead(per_request=0, per_message=0, per_tool=0)

    @property
    def info(self) -> ModelInfo:
        return self._info

    def bound(self, request: ModelRequest) -> Bound:
        return bound_of(request, self._overhead, output_cap=_cap(request))

    def learn(self, bound: Bound, usage: Usage) -> None:
        self._overhead.learn(bound.input_tokens, usage.input_tokens)

    async def count(self, request: ModelRequest) -> int | None:
        return input_tokens(request)

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """Plan the next step and carry it out.

        Raises:
            ModelError: the answer is asked for in a JSON schema, which rules can not fill.
        """
        await lowlevel.checkpoint()
        step = _filled(request) if request.output_schema else next_step(request, _cap(request))
        message = Message("assistant", step.answer, step.calls)
        cut = message_tokens(message) > _cap(request)
        if cut:
            message = Message("assistant", _cut(_said(step.answer), _cap(request)))
        if on_text is not None:
            for piece in _pieces(message.content):
                on_text(piece)
                await lowlevel.checkpoint()
        usage = Usage(input_tokens(request), message_tokens(message))
        finish = "length" if cut else "tool_calls" if message.tool_calls else "stop"
        return Completion(message, usage, finish, self._info.name)  # type: ignore[arg-type]


def _filled(request: ModelRequest) -> Step:
    """The step of an agent whose answer has a schema.

    Raises:
        ModelError: it is none that rules can fill.
    """
    step = filled_step(request)
    if step is None:
        raise ModelError(
            "the model 'offline' writes Markdown and can not fill the agent's `output` schema; "
            "take `output` out of the definition, or choose another model",
            fault="invalid_request",
        )
    return step


def _cap(request: ModelRequest) -> int:
    asked = request.max_output_tokens
    return MAX_OUTPUT_TOKENS if asked is None else min(asked, MAX_OUTPUT_TOKENS)


def _said(answer: str) -> str:
    return answer or "The output cap leaves no room for the tool calls that are needed."


def _cut(text: str, cap: int) -> str:
    return text.encode()[: cap * BYTES_PER_TOKEN].decode("utf-8", "ignore")


def _pieces(text: str) -> Iterator[str]:
    """The paragraphs of a text, with the line ends after them."""
    return (match.group() for match in re.finditer(r".+?(?:\n\n+|\Z)", text, re.DOTALL))

"""A model that says back the last thing a user said."""

from __future__ import annotations

from collections.abc import Callable

from anyio.lowlevel import checkpoint
from sashizu_core.bounds import Overhead, bound_of, text_bound
from sashizu_core.types import Bound, Completion, Message, ModelInfo, ModelRequest, Usage

__all__ = ["EchoModel"]

MAX_OUTPUT_TOKENS = 4096


class EchoModel:
    """One token is one byte of UTF-8, so that what is used never exceeds what was bounded."""

    def __init__(self, name: str, prefix: str = "") -> None:
        self.info = ModelInfo(
            name, "echo", max_output_tokens=MAX_OUTPUT_TOKENS, min_output_tokens=1, local=True
        )
        self._prefix = prefix
        self._overhead = Overhead()

    def bound(self, request: ModelRequest) -> Bound:
        return bound_of(request, self._overhead, output_cap=_cap(request))

    def learn(self, bound: Bound, usage: Usage) -> None:
        self._overhead.learn(bound.input_tokens, usage.input_tokens)

    async def count(self, request: ModelRequest) -> int | None:
        return sum(text_bound(message.content) for message in request.messages)

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        await checkpoint()
        told = next(m.content for m in reversed(request.messages) if m.role == "user")
        whole = self._prefix + told
        # A cut in the middle of a character loses that character.
        answer = whole.encode()[: _cap(request)].decode("utf-8", "ignore")
        if on_text is not None and answer:
            on_text(answer)
            await checkpoint()
        return Completion(
            Message("assistant", answer),
            Usage(await self.count(request) or 0, len(answer.encode())),
            "stop" if answer == whole else "length",
            self.info.name,
        )


def _cap(request: ModelRequest) -> int:
    return min(request.max_output_tokens or MAX_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS)

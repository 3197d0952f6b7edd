"""A model behind either API."""

from __future__ import annotations

import time
from collections.abc import Callable

import orjson
from sashizu_core.bounds import bound_of
from sashizu_core.errors import ModelError
from sashizu_core.types import Bound, Completion, ModelInfo, ModelRequest, Usage

from sashizu_openai.api import Answer, Api
from sashizu_openai.chat_request import ChatApi
from sashizu_openai.client import Body, Failure, Status
from sashizu_openai.clocks import Clock
from sashizu_openai.encodings import Encodings, ToolEncodings
from sashizu_openai.endpoints import Endpoint
from sashizu_openai.faults import status_error
from sashizu_openai.responses_request import COUNT_PATH, ResponsesApi
from sashizu_openai.services import Service
from sashizu_openai.sse import Event, EventReader

__all__ = ["DEFAULT_OUTPUT_CAP", "OpenAIModel"]

DEFAULT_OUTPUT_CAP = 8192
"""Tokens of output that are asked for at most where nobody says how much a model can write."""


class OpenAIModel:
    """One model at one endpoint, for any number of conversations at once."""

    def __init__(self, info: ModelInfo, endpoint: Endpoint, model: str, service: Service) -> None:
        self._info = info
        self._endpoint = endpoint
        self._service = service
        self._api: Api
        if endpoint.api == "responses":
            self._api = ResponsesApi(endpoint, model)
        else:
            self._api = ChatApi(endpoint, model)
        self._messages = Encodings(self._api.encode_message)
        self._tools = ToolEncodings(self._api.encode_tools)

    @property
    def info(self) -> ModelInfo:
        return self._info

    def bound(self, request: ModelRequest) -> Bound:
        return bound_of(
            request,
            self._service.overhead,
            output_cap=self._output_cap(request),
            context_window=self._info.context_window,
        )

    def learn(self, bound: Bound, usage: Usage) -> None:
        self._service.overhead.learn(bound.input_tokens, usage.input_tokens)

    async def count(self, request: ModelRequest) -> int | None:
        if not (self._endpoint.counts and isinstance(self._api, ResponsesApi)):
            return None
        body = self._api.count_body(
            request, self._messages.join(request.messages), self._tools.of(request.tools)
        )
        answer = _Number()
        try:
            await self._attempt(COUNT_PATH, body, answer, reasons=False)
        except ModelError:
            return None  # then the bound from the text has to do
        return answer.number

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        answer = self._api.answer(request, on_text)
        body = self._api.body(
            request,
            self._output_cap(request),
            self._messages.join(request.messages),
            self._tools.of(request.tools),
        )
        reasons = request.effort not in (None, "none", "minimal")
        try:
            async with self._service.slot():
                ttft_ns = await self._attempt(self._api.path, body, answer, reasons=reasons)
            return answer.completion(ttft_ns=ttft_ns)
        except ModelError as error:
            error.args = (self._explained(str(error)),)
            raise

    def _output_cap(self, request: ModelRequest) -> int:
        own = self._info.max_output_tokens
        if request.max_output_tokens is None:
            return own or DEFAULT_OUTPUT_CAP
        return request.max_output_tokens if own is None else min(own, request.max_output_tokens)

    async def _attempt(
        self, path: str, body: bytes, answer: Answer | _Number, *, reasons: bool
    ) -> int | None:
        """One attempt; returns the nanoseconds to the first content.

        An answer that has finished is not lost by what goes wrong after that.
        """
        clock = Clock(self._endpoint.patience, reasons=reasons)
        reading = _Reading(answer, clock)
        try:
            with clock.scope:
                async with self._service.client.post(
                    path, body, on_connected=clock.connected
                ) as answered:
                    await reading.all(answered)
        except Status as refusal:
            raise status_error(
                refusal.status, refusal.headers, refusal.body, now=time.time()
            ) from None
        except Failure as failure:
            if not answer.finished:
                raise ModelError(
                    failure.reason,
                    fault="transport" if failure.sent else "connect",
                    sent=failure.sent,
                ) from failure
        if clock.expired and not answer.finished:
            raise clock.error()
        return reading.ttft_ns

    def _explained(self, message: str) -> str:
        """Say whose fault it is, and no secret."""
        for secret in self._endpoint.secrets:
            message = message.replace(secret, "[key]")
        return f"{self._info.name}: {message}"


class _Reading:
    """Reads one answer and moves its clock."""

    def __init__(self, answer: Answer | _Number, clock: Clock) -> None:
        self.ttft_ns: int | None = None
        self._answer = answer
        self._clock = clock
        self._events = EventReader()
        self._started_ns = time.monotonic_ns()

    async def all(self, body: Body) -> None:
        while (piece := await body.read()) is not None:
            if not self._answer.complete:
                self._take(self._events.feed(piece))
        if not self._answer.complete:
            self._take(self._events.end())

    def _take(self, events: list[Event]) -> None:
        content = self._events.whole
        for event in events:
            content = self._answer.take(event) or content
            if self._answer.complete:
                break
        if content and self.ttft_ns is None:
            self.ttft_ns = time.monotonic_ns() - self._started_ns
        if self._answer.complete:
            self._clock.drain()
        elif self._answer.finished:
            if content:
                self._clock.finished()
        elif content:
            self._clock.content(reasoning=self._answer.reasoning)


class _Number:
    """The answer to a question for a number of input tokens."""

    def __init__(self) -> None:
        self.finished = False
        self.complete = False
        self.reasoning = False
        self.number: int | None = None

    def take(self, event: Event) -> bool:
        try:
            found = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            return False
        number = found.get("input_tokens") if isinstance(found, dict) else None
        if isinstance(number, int) and number >= 0:
            self.number = number
        self.finished = True
        return True

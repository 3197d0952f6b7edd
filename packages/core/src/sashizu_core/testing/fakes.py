"""Test doubles that pass the contract suites of what they stand for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio

from sashizu_core.bounds import Overhead, bound_of, text_bound
from sashizu_core.errors import ModelError
from sashizu_core.events import Event
from sashizu_core.protocols import Approval, Question
from sashizu_core.specs import ModelSpec, SinkSpec
from sashizu_core.types import (
    Bound,
    Completion,
    Message,
    ModelInfo,
    ModelRequest,
    ToolCall,
    Usage,
)

__all__ = ["FixedApprover", "MemorySink", "ScriptedModel", "call", "memory_sink", "scripted_model"]

Answer = str | Sequence[ToolCall] | Completion | BaseException
Script = Sequence[Answer] | Callable[[ModelRequest], Answer]


def call(name: str, /, call_id: str = "", **arguments: Any) -> ToolCall:
    """A tool call with these arguments."""
    return ToolCall(call_id or f"call_{name}", name, json.dumps(arguments))


class ScriptedModel:
    """Answers from a script: by turn (how often the assistant has spoken), or by a function.

    An entry is a text, tool calls, a whole `Completion`, or an exception to raise. Usage is the
    number of UTF-8 bytes. `requests` keeps what was asked; `latency_s` is slept before answering.
    """

    def __init__(
        self,
        script: Script,
        *,
        info: ModelInfo | None = None,
        latency_s: float = 0.0,
    ) -> None:
        self.info = info or ModelInfo("fake/scripted", "fake", local=True, min_output_tokens=16)
        self.requests: list[ModelRequest] = []
        self._script = script
        self._latency_s = latency_s
        self._overhead = Overhead()

    def bound(self, request: ModelRequest) -> Bound:
        cap = request.max_output_tokens or 1024
        return bound_of(
            request, self._overhead, output_cap=cap, context_window=self.info.context_window
        )

    def learn(self, bound: Bound, usage: Usage) -> None:
        self._overhead.learn(bound.input_tokens, usage.input_tokens)

    async def count(self, request: ModelRequest) -> int | None:
        return _input_tokens(request)

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        self.requests.append(request)
        await anyio.sleep(self._latency_s)
        answer = self._next(request)
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Completion):
            return answer
        message = (
            Message("assistant", answer)
            if isinstance(answer, str)
            else Message("assistant", "", tuple(answer))
        )
        return _completion(self.info.name, request, message, on_text)

    def _next(self, request: ModelRequest) -> Answer:
        if callable(self._script):
            return self._script(request)
        turn = sum(message.role == "assistant" for message in request.messages)
        if turn >= len(self._script):
            raise ModelError(f"the script has only {len(self._script)} answers", fault="protocol")
        return self._script[turn]


def _input_tokens(request: ModelRequest) -> int:
    return sum(
        text_bound(message.content) + sum(len(c.arguments) for c in message.tool_calls)
        for message in request.messages
    )


def _completion(
    name: str,
    request: ModelRequest,
    message: Message,
    on_text: Callable[[str], None] | None,
) -> Completion:
    """Count an answer, and cut it at the output cap."""
    cap = request.max_output_tokens
    size = text_bound(message.content) + sum(text_bound(c.arguments) for c in message.tool_calls)
    if cap is not None and size > cap:
        data = message.content.encode()[:cap]
        message = Message("assistant", data.decode("utf-8", "ignore"))
        usage = Usage(_input_tokens(request), cap)
        return Completion(message, usage, "length", name)
    if on_text is not None and message.content:
        on_text(message.content)
    finish = "tool_calls" if message.tool_calls else "stop"
    return Completion(message, Usage(_input_tokens(request), size), finish, name)  # type: ignore[arg-type]


class MemorySink:
    """Keeps events in a list. `persistent` pretends that they survive, so that runs accept it."""

    def __init__(self, *, persistent: bool = True) -> None:
        self.persistent = persistent
        self.events: list[Event] = []
        self.durable_count = 0

    def write(self, events: Sequence[Event]) -> None:
        self.events.extend(events)

    async def durable(self) -> None:
        self.durable_count = len(self.events)
        await anyio.lowlevel.checkpoint()

    def child_handoff(self) -> Mapping[str, str]:
        return {}

    def kinds(self) -> list[str]:
        """The kinds of all events, in order."""
        return [event.kind for event in self.events]

    def of(self, kind: str) -> list[Mapping[str, object]]:
        """The fields of all events of one kind, in order."""
        return [event.fields for event in self.events if event.kind == kind]


class FixedApprover:
    """Answers every question in one way; `asked` has them in order."""

    def __init__(self, answer: Literal["deny", "once", "run"]) -> None:
        self.answer = answer
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Approval:
        """The answer, given by "test"."""
        self.asked.append(question)
        return Approval(self.answer, by="test")


def scripted_model(model: ScriptedModel) -> ModelSpec:
    """The spec of a scripted model, under its own name."""

    @asynccontextmanager
    async def open_(_name: str) -> AsyncIterator[ScriptedModel]:
        yield model

    return ModelSpec(model.info.name, "answers from a script", open_)


def memory_sink(sink: MemorySink) -> SinkSpec:
    """The spec of a memory sink."""

    @asynccontextmanager
    async def open_() -> AsyncIterator[MemorySink]:
        yield sink

    return SinkSpec("memory", "keeps events in a list", open_)

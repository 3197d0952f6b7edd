"""Chat Completions: answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from sashizu_core.errors import ModelError
from sashizu_core.types import Completion, FinishReason, Message, ToolCall, Usage

from sashizu_openai.api import OPAQUE, OnText, cut_short, unreadable
from sashizu_openai.chat_calls import CallPiece, OpenCalls
from sashizu_openai.faults import told_error
from sashizu_openai.halves import Spoken, mended, read_json, read_model
from sashizu_openai.names import unique_ids
from sashizu_openai.sse import Event
from sashizu_openai.usage import read_usage

__all__ = ["ChatAnswer"]


class _Wire(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)


class _Part(_Wire):
    text: str | None = None


class _Delta(_Wire):
    content: str | list[_Part] | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[CallPiece] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content or self.refusal or ""


class _Choice(_Wire):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(_Wire):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


_FAILURES = frozenset({"error", "insufficient_system_resource"})
"""Finish reasons of services that gave up."""


class ChatAnswer:
    """An answer of Chat Completions while it arrives."""

    def __init__(self, names: Mapping[str, str], on_text: OnText | None, origin: str) -> None:
        self.finished = False
        self.complete = False
        self.reasoning = False
        self._names = names
        self._origin = origin
        self._id = ""
        self._model = ""
        self._spoken = Spoken(on_text)
        self._thoughts: dict[str, list[str]] = {}
        self._calls = OpenCalls()
        self._finish_reason = ""
        self._usage: Usage | None = None
        self._whole = False

    def take(self, event: Event) -> bool:
        if event.data == b"[DONE]":
            self.complete = True
            return False
        try:
            chunk = read_model(_Chunk, event.data)
        except ValueError:
            raise unreadable("the answer" if event.whole else "an event of the answer") from None
        if chunk.error is not None:
            raise told_error(chunk.error, usage=read_usage(chunk.usage))
        if event.name == "error" or (event.whole and chunk.choices is None):
            raise told_error(read_json(event.data))
        self._whole = event.whole
        self._id = chunk.id or self._id
        self._model = chunk.model or self._model
        if chunk.usage is not None:
            self._usage = read_usage(chunk.usage)
        content = False
        for choice in chunk.choices or ():
            if not choice.index:  # only one was asked for
                content = self._take_choice(choice) or content
        return content

    def _take_choice(self, choice: _Choice) -> bool:
        delta = choice.delta or choice.message or _Delta()
        text = delta.text
        if text:
            self._spoken.add(text)
        thought = self._take_thought("reasoning_content", delta.reasoning_content)
        thought = self._take_thought("reasoning", delta.reasoning) or thought
        if delta.tool_calls:
            self._calls.take(delta.tool_calls)
        if choice.finish_reason:
            self._finish_reason = choice.finish_reason
            self.finished = True
        return bool(text or thought or delta.tool_calls or choice.finish_reason)

    def _take_thought(self, name: str, thought: str | None) -> bool:
        if thought:
            self._thoughts.setdefault(name, []).append(thought)
        return bool(thought)

    def completion(self, *, ttft_ns: int | None) -> Completion:
        if not self.finished:
            raise self._unfinished()
        if self._finish_reason in _FAILURES:
            raise ModelError(
                "the provider gave up in the middle of its answer",
                fault="overloaded",
                sent=True,
                usage=self._usage,
            )
        finish = self._finish()
        # A cut answer may end in half a call: none of its calls may run.
        calls = unique_ids(self._tool_calls()) if finish == "tool_calls" else ()
        thoughts = {name: mended("".join(parts)) for name, parts in self._thoughts.items()}
        opaque = (
            {OPAQUE: {"from": self._origin, "fields": thoughts}} if thoughts and calls else None
        )
        return Completion(
            Message("assistant", self._spoken.end(), calls, opaque=opaque),
            self._usage,
            finish,
            model=mended(self._model),
            response_id=mended(self._id),
            ttft_ns=ttft_ns,
        )

    def _finish(self) -> FinishReason:
        match self._finish_reason:
            case "length":
                return "length"
            case "content_filter":
                return "content_filter"
            case _:
                return "tool_calls" if self._calls else "stop"

    def _tool_calls(self) -> list[ToolCall]:
        calls = []
        for call in self._calls:
            if not call.name:
                raise ModelError(
                    "the answer has a tool call without a name",
                    fault="protocol",
                    sent=True,
                    usage=self._usage,
                )
            name = mended(self._names.get(call.name, call.name))
            arguments = mended(call.arguments) or "{}"
            calls.append(ToolCall(mended(call.id), name, arguments))
        return calls

    def _unfinished(self) -> ModelError:
        if self._whole or self.complete:
            return ModelError(
                "the answer has no choice that ended",
                fault="protocol",
                sent=True,
                usage=self._usage,
            )
        return cut_short()

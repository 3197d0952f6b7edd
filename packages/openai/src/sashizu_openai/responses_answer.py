"""Responses: answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError
from sashizu_core.errors import ModelError
from sashizu_core.types import Completion, FinishReason, Message, ToolCall, Usage

from sashizu_openai.api import OPAQUE, OnText, cut_short, unreadable
from sashizu_openai.encodings import encodable
from sashizu_openai.faults import told_error
from sashizu_openai.halves import Spoken, read_model
from sashizu_openai.names import unique_ids
from sashizu_openai.sse import Event
from sashizu_openai.usage import read_usage

__all__ = ["ResponsesAnswer"]

Item = dict[str, Any]


class _Wire(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)


class _Incomplete(_Wire):
    reason: str | None = None


class _Response(_Wire):
    id: str | None = None
    model: str | None = None
    status: str | None = None
    output: list[Item] | None = None
    incomplete_details: _Incomplete | None = None
    usage: Any = None
    error: Any = None


class _Event(_Wire):
    type: str | None = None
    delta: Any = None
    item: Item | None = None
    output_index: int | None = None
    response: _Response | None = None
    error: Any = None
    code: Any = None
    message: Any = None


class _Part(_Wire):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class _MessageItem(_Wire):
    content: list[_Part] | str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text or part.refusal or "" for part in self.content or ())


class _CallItem(_Wire):
    name: str
    call_id: str = ""
    arguments: str = ""
    status: str | None = None


class _Whole(NamedTuple):
    """The parts of an answer that has ended."""

    text: str
    calls: Sequence[ToolCall]
    items: Sequence[Item]


_SPOKEN = frozenset({"response.output_text.delta", "response.refusal.delta"})
_ENDS = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
_CONTENT_ENDINGS = (".delta", ".added", ".done")


class ResponsesAnswer:
    """An answer of Responses while it arrives."""

    def __init__(self, names: Mapping[str, str], on_text: OnText | None, origin: str) -> None:
        self.finished = False
        self.complete = False
        self.reasoning = False
        self._names = names
        self._origin = origin
        self._spoken = Spoken(on_text)
        self._items: dict[int, Item] = {}
        self._response = _Response()
        self._incomplete = False
        self._usage: Usage | None = None

    def take(self, event: Event) -> bool:
        if event.data == b"[DONE]":
            self.complete = True
            return False
        told = _parse(event)
        kind = told.type or event.name
        if kind == "error" or told.error is not None:
            raise told_error(told.error or {"code": told.code, "message": told.message})
        if kind in _ENDS:
            return self._take_end(kind, told.response)
        if kind in _SPOKEN:
            self._take_text(told.delta)
        elif kind == "response.output_item.added":
            self.reasoning = told.item is not None and told.item.get("type") == "reasoning"
        elif kind == "response.output_item.done":
            self.reasoning = False
            if told.item is not None:
                position = len(self._items) if told.output_index is None else told.output_index
                self._items[position] = told.item
        return kind.startswith("response.") and kind.endswith(_CONTENT_ENDINGS)

    def _take_text(self, delta: Any) -> None:
        if isinstance(delta, str) and delta:
            self._spoken.add(delta)

    def _take_end(self, kind: str, response: _Response | None) -> bool:
        if response is None:
            raise unreadable("the last event of the answer")
        self._usage = read_usage(response.usage)
        if kind in ("response.failed", "response.cancelled") or response.status == "failed":
            raise told_error(response.error, usage=self._usage)
        self._incomplete = kind == "response.incomplete" or response.status == "incomplete"
        self._response = response
        self.finished = self.complete = True
        return True

    def completion(self, *, ttft_ns: int | None) -> Completion:
        if not self.finished:
            raise cut_short()
        whole = self._whole()
        finish = self._finish(whole.calls)
        # A cut answer may end in half a call: none of its calls may run.
        calls = unique_ids(whole.calls) if finish == "tool_calls" else ()
        keep = whole.items if finish in ("tool_calls", "stop") else ()
        message = Message("assistant", whole.text, calls, opaque=self._opaque(keep))
        return Completion(
            message,
            self._usage,
            finish,
            model=self._response.model or "",
            response_id=self._response.id or "",
            ttft_ns=ttft_ns,
        )

    def _whole(self) -> _Whole:
        items = self._response.output or [self._items[at] for at in sorted(self._items)]
        texts: list[str] = []
        calls: list[ToolCall] = []
        kept: list[Item] = []
        try:
            for item in items:
                match item.get("type"):
                    case "message":
                        texts.append(_MessageItem.model_validate(item).text)
                        kept.append(_layout(item, "id", "phase") | {"length": len(texts[-1])})
                    case "function_call":
                        calls.append(self._call(_CallItem.model_validate(item)))
                        kept.append(_layout(item, "id"))
                    case _:
                        kept.append(
                            {key: value for key, value in item.items() if value is not None}
                        )
        except ValidationError:
            raise ModelError(
                "the answer holds an item that cannot be read",
                fault="protocol",
                sent=True,
                usage=self._usage,
            ) from None
        streamed = self._spoken.end()
        return _Whole("".join(texts) if items else streamed, calls, kept)

    def _call(self, item: _CallItem) -> ToolCall:
        name = self._names.get(item.name, item.name)
        return ToolCall(item.call_id, name, item.arguments or "{}")

    def _finish(self, calls: Sequence[ToolCall]) -> FinishReason:
        if self._incomplete:
            reason = (self._response.incomplete_details or _Incomplete()).reason
            return "content_filter" if reason == "content_filter" else "length"
        return "tool_calls" if calls else "stop"

    def _opaque(self, items: Sequence[Item]) -> dict[str, Any] | None:
        """What has to be given back: reasoning that can be, and how messages were labelled."""
        usable = [item for item in items if item.get("type") != "reasoning" or _has_content(item)]
        if all(_says_nothing(item) for item in usable):
            return None
        return {OPAQUE: {"from": self._origin, "items": usable}}


def _parse(event: Event) -> _Event:
    try:
        if not event.whole:
            return read_model(_Event, event.data, mend=_mended)
        response = read_model(_Response, event.data, mend=encodable)
    except ValueError:
        raise unreadable("the answer" if event.whole else "an event of the answer") from None
    if response.error is not None and response.status is None:
        return _Event(type="error", error=response.error)
    return _Event(type=f"response.{response.status or 'completed'}", response=response)


def _mended(event: Any) -> Any:
    """Without halves, except where the next event may bring the other one."""
    told = encodable(event)
    if isinstance(told, dict) and "delta" in told:
        told["delta"] = event["delta"]
    return told


def _layout(item: Item, *fields: str) -> Item:
    """Where a message or a call stood; its text is kept in the message itself."""
    return {
        "type": item["type"],
        "fields": {name: item[name] for name in fields if item.get(name) is not None},
    }


def _has_content(item: Item) -> bool:
    """Reasoning without its content is only a reference to something that nobody stored."""
    return bool(item.get("encrypted_content") or item.get("content"))


def _says_nothing(item: Item) -> bool:
    """Whether the message alone says as much."""
    return item.get("type") in ("message", "function_call") and "phase" not in item["fields"]

"""What the two APIs have in common: how a request becomes bytes, and events an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sashizu_core.errors import ModelError
from sashizu_core.types import Completion, Message, ModelRequest, ToolSchema

from sashizu_openai.encodings import dump_json
from sashizu_openai.sse import Event

__all__ = ["OPAQUE", "Answer", "Api", "cut_short", "join_body", "output_format", "unreadable"]

OPAQUE = "openai"
"""The key in `Message.opaque` under which things wait to be given back."""

OnText = Callable[[str], None]


class Answer(Protocol):
    """An answer while it arrives.

    `finished` once the model has said that it ended, `complete` once nothing more is to come,
    `reasoning` while the model says that it thinks.
    """

    finished: bool
    complete: bool
    reasoning: bool

    def take(self, event: Event) -> bool:
        """Take one event; whether it is content (and no sign of life only).

        Raises:
            ModelError: it is an error, or no sense can be made of it.
        """
        ...

    def completion(self, *, ttft_ns: int | None) -> Completion:
        """The whole.

        Raises:
            ModelError: the answer ended before the model did.
        """
        ...


class Api(Protocol):
    """One of the two APIs, for one model at one endpoint."""

    path: str

    def encode_message(self, message: Message) -> bytes: ...

    def encode_tools(self, tools: Sequence[ToolSchema]) -> bytes: ...

    def body(self, request: ModelRequest, cap: int, messages: bytes, tools: bytes) -> bytes:
        """The body of a request; `cap` bounds the output, in tokens."""
        ...

    def answer(self, request: ModelRequest, on_text: OnText | None) -> Answer: ...


def join_body(fields: Mapping[str, Any], encoded: Mapping[str, bytes]) -> bytes:
    """One JSON object of plain fields and of lists that are encoded already."""
    parts = [dump_json(fields)[:-1]]
    parts += [b',"' + key.encode() + b'":[' + value + b"]" for key, value in encoded.items()]
    return b"".join(parts) + b"}"


def output_format(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The final answer's schema; strict where the schema allows the provider to be."""
    return {"name": "answer", "schema": schema, "strict": _is_strict(schema)}


def _is_strict(schema: Any) -> bool:
    """Whether every object lists all its properties as required and allows no others."""
    if isinstance(schema, list | tuple):
        return all(_is_strict(part) for part in schema)
    if not isinstance(schema, Mapping):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        required = set(schema.get("required", ()))
        if schema.get("additionalProperties") is not False:
            return False
        if required != set(schema.get("properties", {})):
            return False
    return all(_is_strict(part) for part in schema.values())


def cut_short() -> ModelError:
    return ModelError(
        "the answer ended before the model said that it was done", fault="transport", sent=True
    )


def unreadable(what: str) -> ModelError:
    """What came cannot be parsed; its text is not repeated."""
    return ModelError(f"{what} cannot be read", fault="transport", sent=True)

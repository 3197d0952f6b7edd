"""Texts that were cut between the two halves of a character, as UTF-16 has them.

A server whose strings are UTF-16 escapes each half on its own, and may send them in two events.
Halves are JSON, but no UTF-8: strict parsers refuse them, and nothing that writes UTF-8 takes them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

__all__ = ["Spoken", "mended", "read_json", "read_model"]

_HALF = (b"\\ud", b"\\uD")
M = TypeVar("M", bound=BaseModel)


def mended(text: str) -> str:
    """The text with its halves joined; each that stays alone becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def read_json(data: bytes) -> Any:
    """The value of a JSON text, halves as they are; what is no UTF-8 becomes U+FFFD.

    Slower than other parsers: for what they refuse.

    Raises:
        ValueError: it is no JSON, or nests too deeply.
    """
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


def read_model(kind: type[M], data: bytes, *, mend: Callable[[Any], Any] | None = None) -> M:
    """A JSON text as a model. `mend` changes the value of a text that holds halves.

    Raises:
        ValueError: it is no JSON, or something else than the model.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError:
        if data.isascii() and not any(half in data for half in _HALF):
            raise
    value = read_json(data)
    try:
        return kind.model_validate(value if mend is None else mend(value))
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


class Spoken:
    """Text while it arrives. What is told of it never ends within a character."""

    def __init__(self, on_text: Callable[[str], None] | None) -> None:
        self._on_text = on_text
        self._pieces: list[str] = []
        self._half = ""

    def add(self, text: str) -> None:
        self._pieces.append(text)
        if self._on_text is None:
            return
        if self._half:
            text, self._half = self._half + text, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        if text:
            self._on_text(mended(text))

    def end(self) -> str:
        """The whole text; tells a half that nothing followed."""
        if self._half and self._on_text is not None:
            self._on_text(mended(self._half))
        self._half = ""
        return mended("".join(self._pieces))

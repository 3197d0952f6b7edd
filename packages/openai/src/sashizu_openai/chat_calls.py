"""Chat Completions: tool calls, put together from their pieces."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from sashizu_openai.encodings import dump_json

__all__ = ["CallPiece", "OpenCall", "OpenCalls"]


class _Function(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class CallPiece(BaseModel):
    """A tool call, or a piece of one, as it is sent."""

    model_config = ConfigDict(coerce_numbers_to_str=True)

    index: int | None = None
    id: str | None = None
    function: _Function | None = None

    @property
    def name(self) -> str:
        return (self.function and self.function.name) or ""

    @property
    def arguments(self) -> str:
        arguments = self.function.arguments if self.function is not None else None
        if isinstance(arguments, dict):
            return dump_json(arguments).decode()
        return arguments or ""


@dataclass(slots=True)
class OpenCall:
    """A tool call whose arguments still come. `index` is the service's, often wrong.

    `named_again`: its name came once more after its arguments were whole.
    """

    index: int
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    named_again: bool = False

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are an object already."""
        try:
            return isinstance(json.loads(self.arguments), dict)
        except (ValueError, RecursionError):
            return False


class OpenCalls:
    """The tool calls of an answer while it arrives.

    The API gives each call an index and each first piece an id and a name. Some services give no
    index, or every call the same, and ids that are empty: then a name opens a call.
    """

    def __init__(self) -> None:
        self._calls: list[OpenCall] = []

    def __bool__(self) -> bool:
        return bool(self._calls)

    def __iter__(self) -> Iterator[OpenCall]:
        return iter(self._calls)

    def take(self, pieces: Sequence[CallPiece]) -> None:
        """Take the pieces of one event."""
        for position, piece in enumerate(pieces):
            mine = self._known(piece, position, alone=len(pieces) == 1)
            arguments = piece.arguments
            if mine is None or _opens_another(piece, mine, arguments):
                name = mine.name if mine is not None and not piece.name else piece.name
                mine = OpenCall(position if piece.index is None else piece.index, name=name)
                self._calls.append(mine)
            mine.id = mine.id or piece.id or ""
            mine.name = mine.name or piece.name
            if arguments:
                mine.pieces.append(arguments)

    def _known(self, piece: CallPiece, position: int, *, alone: bool) -> OpenCall | None:
        """The call that a piece may belong to."""
        if piece.index is None and alone:
            return self._calls[-1] if self._calls else None
        index = position if piece.index is None else piece.index
        return next((known for known in reversed(self._calls) if known.index == index), None)


def _opens_another(piece: CallPiece, mine: OpenCall, arguments: str) -> bool:
    """Whether a piece begins a call of its own, and not more of one that has begun."""
    if not piece.name:
        return mine.named_again and bool(arguments)
    if piece.id and mine.id:
        return piece.id != mine.id
    if mine.name and piece.name != mine.name:
        return True
    if not (mine.name and mine.is_whole):
        return False
    mine.named_again = not arguments  # whether another follows, the next piece tells
    return bool(arguments)

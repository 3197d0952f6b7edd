"""What an answer says of itself, and how usage is read in every dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sashizu_core.types import FinishReason, Usage

__all__ = ["Found", "anthropic_usage", "openai_usage"]

MOST_TOKENS = 10**10
"""Counts above this are no counts."""

MOST_TEXT = 1_000_000
"""Characters of an answer that are kept for the record."""


@dataclass(slots=True)
class Found:
    """What was read of one answer so far.

    `ended` says that the answer, or one of several, was told to be complete, `finished` which of
    them were; `failed` is what the provider says went wrong in the middle of it; `counted` that its
    output was counted after it began. `thoughts` are the ids of its reasoning, `pieces` its text,
    in order, where somebody asked for it.
    """

    usage: Usage | None = None
    model: str = ""
    response_id: str = ""
    finish: FinishReason = "stop"
    ended: bool = False
    finished: set[int] = field(default_factory=set)
    failed: str = ""
    counted: bool = False
    thoughts: list[str] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)
    size: int = 0

    def end(self, *answers: int) -> None:
        """Take note that answers are complete, by their place in what was asked for."""
        self.ended = True
        self.finished.update(answers)

    def add(self, text: object) -> None:
        """Keep a piece of the answer's text, up to a limit."""
        if isinstance(text, str) and self.size < MOST_TEXT:
            self.pieces.append(text[: MOST_TEXT - self.size])
            self.size += len(text)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def _count(raw: Mapping[str, Any], *names: str) -> int | None:
    """The first of several counts that is given and makes sense."""
    for name in names:
        value = raw.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
            return value
    return None


def _within(raw: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if isinstance(found := raw.get(name), dict):
            return found
    return {}


def openai_usage(raw: object) -> Usage | None:
    """The usage of a call in the names of Responses or Chat Completions; None without sense.

    Some services leave reasoning out of the output but not out of the total: the larger counts.
    """
    if not isinstance(raw, dict):
        return None
    told = _count(raw, "input_tokens", "prompt_tokens")
    written = _count(raw, "output_tokens", "completion_tokens")
    if told is None or written is None:
        return None
    output = max(written, (_count(raw, "total_tokens") or 0) - told)
    inputs = _within(raw, "input_tokens_details", "prompt_tokens_details")
    outputs = _within(raw, "output_tokens_details", "completion_tokens_details")
    read = min(_count(inputs, "cached_tokens") or 0, told)
    return Usage(
        input_tokens=told,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=min(_count(inputs, "cache_write_tokens") or 0, told - read),
        reasoning_tokens=min(_count(outputs, "reasoning_tokens") or 0, output),
    )


def anthropic_usage(raw: object) -> Usage | None:
    """The usage of a call in the names of Messages, where cached input is counted apart."""
    if not isinstance(raw, dict):
        return None
    plain, output = _count(raw, "input_tokens"), _count(raw, "output_tokens")
    if plain is None or output is None:
        return None
    read = _count(raw, "cache_read_input_tokens") or 0
    written = _count(raw, "cache_creation_input_tokens") or 0
    return Usage(
        input_tokens=plain + read + written,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
    )

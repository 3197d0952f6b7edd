"""Reads values that a socket told, whatever they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["mapping", "mappings", "number", "text"]


def text(value: object, most: int = 500) -> str:
    """At most so many characters of a value; empty for None."""
    if value is None:
        return ""
    found = value if isinstance(value, str) else str(value)
    return found if len(found) <= most else f"{found[:most]}…"


def number(value: object) -> int:
    """A whole number; 0 for everything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def mapping(value: object) -> Mapping[str, Any]:
    """An object; an empty one for everything else."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> Iterator[Mapping[str, Any]]:
    """The objects of a list."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from (each for each in value if isinstance(each, Mapping))

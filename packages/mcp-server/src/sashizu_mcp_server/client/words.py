"""Texts of servers are hostile: what of them may reach a model, a record or a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

__all__ = ["clean_line", "clean_text", "clean_value"]

_KEPT = frozenset("\n\t")

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that show nothing, or change how other text is shown."""

_JOINERS = frozenset("\u200c\u200d")
"""Format characters that scripts and emoji are written with."""

DEEPEST = 32


def clean_text(text: str, most: int) -> str:
    """The text without what nobody sees, cut to so many characters.

    Control characters, directions, tags, private and unassigned characters are left out: they hide
    instructions from a person, and steer terminals.
    """
    cut = text[: most + 1]
    if not cut.isascii() or not cut.isprintable():
        cut = "".join(char for char in cut if _is_seen(char))
    return cut if len(text) <= most else cut[:most] + " [cut]"


def clean_line(text: str, most: int) -> str:
    """The same in one line."""
    return " ".join(clean_text(text, most).split())


def clean_value(value: Any, most: int, depth: int = 0) -> Any:
    """A JSON value whose texts and names are clean; None for what is nested too deeply."""
    if isinstance(value, str):
        return clean_text(value, most)
    if isinstance(value, Mapping):
        if depth >= DEEPEST:
            return None
        return {
            clean_text(str(name), most): clean_value(item, most, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        if depth >= DEEPEST:
            return None
        return [clean_value(item, most, depth + 1) for item in value]
    return value


def _is_seen(char: str) -> bool:
    if char in _KEPT or char in _JOINERS:
        return True
    return unicodedata.category(char) not in _INVISIBLE

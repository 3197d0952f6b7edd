"""Values as source text."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["literal_text"]


def literal_text(value: Any) -> str | None:
    """The value as an expression that makes an equal one; None when there is none.

    The same value gives the same text in every process: sets are sorted.
    """
    match value:
        case None | bool() | int() | str() | bytes():
            return repr(value)
        case float():
            return repr(value) if math.isfinite(value) else None
        case list():
            return _joined("[", value, "]")
        case tuple():
            return _joined("(", value, ",)" if len(value) == 1 else ")")
        case dict():
            return _pairs(value)
        case set() if value:
            return _joined("{", sorted(value, key=repr), "}")
        case set() | frozenset():
            inner = _joined("[", sorted(value, key=repr), "]")
            return f"{type(value).__name__}({inner})" if inner else None
        case _:
            return None


def _joined(opening: str, items: Any, closing: str) -> str | None:
    texts = [literal_text(item) for item in items]
    if None in texts:
        return None
    return opening + ", ".join(text for text in texts if text) + closing


def _pairs(value: dict[Any, Any]) -> str | None:
    texts = [(literal_text(key), literal_text(item)) for key, item in value.items()]
    if any(key is None or item is None for key, item in texts):
        return None
    return "{" + ", ".join(f"{key}: {item}" for key, item in texts) + "}"

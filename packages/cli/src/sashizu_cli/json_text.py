"""JSON that every reader takes."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["json_text"]


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON in ASCII.

    Halves of surrogate pairs, which names of files and texts of models may hold and strict readers
    refuse, become question marks. What JSON has no word for becomes its text.
    """
    text = json.dumps(value, default=str, indent=indent)
    if "\\ud" not in text:
        return text
    whole = json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "replace")
    return json.dumps(json.loads(whole), indent=indent)

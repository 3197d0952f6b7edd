"""Foreign text where people read it: nothing in it is invisible, or moves or colours what is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

__all__ = ["code", "visible", "visible_json", "visible_lines"]


def visible(text: str) -> str:
    """The text on one line; what can not be printed is written as Python's escape of it."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def visible_lines(lines: Iterable[str]) -> str:
    """A text of these lines and no others."""
    return "\n".join(map(visible, lines))


def code(text: str) -> str:
    """The text as code in Markdown (CommonMark, section 6.1), whatever backticks it holds."""
    shown = visible(text) or " "
    longest = max(map(len, re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    padded = shown.strip(" ") != "" and (shown[0] in "` " or shown[-1] in "` ")
    return f"{fence} {shown} {fence}" if padded else f"{fence}{shown}{fence}"


def visible_json(value: object, *, indent: int | None = None) -> str:
    """JSON of which every letter can be seen; it says the same."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        letter if letter == "\n" or letter.isprintable() else json.dumps(letter)[1:-1]
        for letter in text
    )

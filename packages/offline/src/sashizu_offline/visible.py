"""Foreign text where people read it: nothing in it is invisible, or moves or colours what is."""

from __future__ import annotations

__all__ = ["visible"]


def visible(text: str) -> str:
    """The text on one line; what can not be printed is written as Python's escape of it."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )

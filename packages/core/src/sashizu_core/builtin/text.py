"""Text of files, and how much of it a model is shown.

A line in square brackets at the end of a result is a note of the tool, not text of a file.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable

from sashizu_core.errors import ToolError

__all__ = ["MAX_LINE", "MAX_RESULT", "Lines", "decoded", "shown", "split_lines"]

MAX_RESULT = 64 * 1024
"""The most characters of one result, notes not counted."""

MAX_LINE = 1000
"""The most characters of one line that are shown."""

_LOOKED_AT = 8192
"""How many bytes are searched for a NUL, which text does not have."""


def decoded(data: bytes, path: str) -> str:
    """The text of a file: UTF-8, or UTF-16 with its mark; other bytes become U+FFFD.

    Raises:
        ToolError: it is binary.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise ToolError(f"{path!r} is not text") from error
    if b"\0" in data[:_LOOKED_AT]:
        raise ToolError(f"{path!r} is not text but binary, {len(data):,} bytes")
    return data.decode("utf-8-sig", "replace")


def split_lines(text: str) -> list[str]:
    """The lines without their ends, which are LF or CR LF; nothing else ends a line."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def shown(line: str) -> str:
    """A line, cut where it is too long to be of use."""
    if len(line) <= MAX_LINE:
        return line
    return f"{line[:MAX_LINE]}… [+{len(line) - MAX_LINE} characters]"


class Lines:
    """The lines of a result, until it is full."""

    def __init__(self, most: int = MAX_RESULT) -> None:
        self._lines: list[str] = []
        self._left = most

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, line: str) -> bool:
        """Take a line; False when there is no room for it."""
        if len(line) + 1 > self._left:
            return False
        self._left -= len(line) + 1
        self._lines.append(line)
        return True

    def text(self, notes: Iterable[str] = ()) -> str:
        """The result, with its notes at the end."""
        return "\n".join([*self._lines, *(f"[{note}]" for note in notes)])

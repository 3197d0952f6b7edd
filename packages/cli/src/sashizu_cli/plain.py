"""Text from models, tools, files and repositories, made harmless and measured for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from unicodedata import combining, east_asian_width

__all__ = ["cells", "cut", "one_line", "padded", "printable", "table_lines", "visible"]

_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but tab and newline
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\u115f\u1160\u2800\u3164\uffa0"  # letters that look like blanks
    "\U000e0000-\U000e007f"  # what hides text or turns it round
    "\ud800-\udfff]"
)


_MANY_BLANKS = re.compile(r"[^\S\n]{8,}")

_NARROWEST = 4
"""Columns that are left of the narrowest cell."""


def printable(text: str) -> str:
    r"""The text with every character made visible that could steer a terminal or hide something.

    Such a character becomes its escape (`\x1b`); tabs and newlines stay, `\r\n` is a newline.
    """
    return _HARMFUL.sub(_escape, text.replace("\r\n", "\n"))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    r"""The text on one line with nothing lost: tabs and newlines become `\t` and `\n` as well.

    Many blanks are counted, so that they push nothing out of sight.
    """
    shown = _HARMFUL.sub(_escape, text)
    shown = shown.replace("\t", "\\t").replace("\n", "\\n")
    return _MANY_BLANKS.sub(lambda found: f" [{len(found[0])} blanks] ", shown)


def one_line(text: str) -> str:
    """The text as one printable line: every run of white space is one space."""
    return printable(" ".join(text.split()))


def cells(text: str) -> int:
    """How many columns of a terminal a printable text takes: CJK two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, width: int) -> str:
    """At most `width` columns; what is longer ends in an ellipsis."""
    if cells(text) <= width:
        return text
    kept = text[: max(0, width - 1)]
    while kept and cells(kept) > width - 1:
        kept = kept[:-1]
    return kept.rstrip() + "…" if width > 0 else ""


def padded(text: str, width: int) -> str:
    """Exactly `width` columns."""
    text = cut(text, width)
    return text + " " * (width - cells(text))


def table_lines(rows: Sequence[Sequence[str]], width: int | None = None) -> list[str]:
    """Rows as aligned columns, two spaces apart; the first row may be a heading.

    Within `width` columns, if it is given: the widest are cut first.
    """
    clean = [[one_line(cell) for cell in row] for row in rows]
    if not clean:
        return []
    widths = [max(cells(row[column]) for row in clean) for column in range(len(clean[0]))]
    if width is not None:
        widths = _fitted(widths, width - 2 * (len(widths) - 1))
    return [
        "  ".join(padded(cell, size) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in clean
    ]


def _fitted(widths: Sequence[int], room: int) -> list[int]:
    """Widths of columns that fit together: none is cut before all are as narrow as the rest."""
    fitted = list(widths)
    open_, left = sorted(range(len(fitted)), key=lambda column: fitted[column]), room
    for position, column in enumerate(open_):
        share = max(_NARROWEST, left // (len(open_) - position))
        fitted[column] = min(fitted[column], share)
        left -= fitted[column]
    return fitted

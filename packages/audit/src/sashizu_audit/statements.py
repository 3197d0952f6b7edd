"""Where one statement of SQL ends and the next begins."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Script", "is_whole", "says_something", "split_statements", "under_cursor"]

_TOKEN = re.compile(
    r"""
      (?P<end>;)
    | (?P<comment>--[^\n]*|/\*.*?(?:\*/|\Z))
    | (?P<escaped>\b[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z))
    | (?P<quoted>'(?:[^']|'')*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z))
    | (?P<dollar>\$(?P<tag>[A-Za-z_]\w*|)\$.*?(?:\$(?P=tag)\$|\Z))
    """,
    re.VERBOSE | re.DOTALL,
)
_OPEN = re.compile(r"\s*\\")


@dataclass(frozen=True, slots=True)
class Script:
    """Statements without their `;`, and what follows the last one."""

    statements: tuple[str, ...]
    rest: str


def split_statements(text: str) -> Script:
    """Cut a script at every `;` that stands in no string, name or comment.

    A line that begins with a backslash, where no statement has begun, is one by itself.
    """
    found: list[str] = []
    begin = 0
    place = 0
    while True:
        before = place
        if not text[begin:place].strip() and _OPEN.match(text, place):
            begin = place = _end_of_line(text, place)
            found.append(text[before:place].strip())
            continue
        token = _TOKEN.search(text, place)
        if token is None:
            break
        place = token.end()
        if token["end"]:
            found.append(text[begin : token.start()].strip())
            begin = place
    return Script(tuple(one for one in found if says_something(one)), text[begin:].lstrip())


def _end_of_line(text: str, place: int) -> int:
    """Where the line ends in which the first word from here on stands."""
    blank = len(text[place:]) - len(text[place:].lstrip())
    end = text.find("\n", place + blank)
    return len(text) if end < 0 else end


def is_whole(text: str) -> bool:
    """Whether what was typed can be run: nothing is left open behind the last `;`."""
    return not says_something(split_statements(text).rest)


def says_something(text: str) -> bool:
    """Whether there is more than blanks and comments."""
    left = _TOKEN.sub(lambda token: "" if token["comment"] else token[0], text)
    return bool(left.strip())


def under_cursor(text: str) -> str:
    """The statement, or the command, that a text ends with."""
    before, _, line = text.rpartition("\n")
    if _OPEN.match(line) and is_whole(before):
        return line
    return split_statements(text).rest

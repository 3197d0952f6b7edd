"""Scripts inside of arguments that can be told to reach no file and start no program."""

from __future__ import annotations

import re

__all__ = ["jq_doubt", "sed_doubt"]

_JQ_REACHES = re.compile(
    r"(?<![.\w$\"])(?:import|include|modulemeta|env|get_search_list)\b|\$ENV|\$__loc__"
)


def jq_doubt(script: str) -> str:
    """What of a jq filter is not understood; empty where it only transforms its input."""
    found = _JQ_REACHES.search(script)
    return f"{found[0]!r} in a filter may reach more than its input" if found else ""


_NUMBER = re.compile(r"\s*(?:\d+(?:~\d+)?|\$|[+~]\d+)")
_BLANK = re.compile(r"\s*")
_SIMPLE = re.compile(r"[pPdDqQ=gGhHnNxlF]")
_CHANGE_FLAGS = re.compile(r"[gpIiMm0-9]*")
_END = re.compile(r"[ \t]*(?:[;\n]\s*|\Z)")
_BRACKET = re.compile(r"\[\^?(?:\[:[a-z]+:\]|\\[^]\n]|[^][\\\n])+\]")
"""A bracket expression that every sed reads alike: not with `]` or `[` as a member."""


def sed_doubt(script: str) -> str:
    """What of a sed script is not understood; empty where it prints, deletes and substitutes."""
    at = 0
    while at < len(script):
        end = _command_end(script, _addresses_end(script, at))
        after = None if end is None else _END.match(script, end)
        if after is None:
            shown = script[at : at + 40]
            return f"{shown!r} in a script is more than addresses, 'p', 'd', 'q', '=', 's' and 'y'"
        at = after.end()
    return ""


def _addresses_end(script: str, at: int) -> int:
    """Past the addresses of a command, or where they cannot be understood."""
    first = _address_end(script, at)
    if first is None:
        return _blank(script, at)
    at = _blank(script, first)
    if script[at : at + 1] == ",":
        second = _address_end(script, at + 1)
        at = _blank(script, at if second is None else second)
    if script[at : at + 1] == "!":
        at = _blank(script, at + 1)
    return at


def _blank(script: str, at: int) -> int:
    found = _BLANK.match(script, at)
    return found.end() if found else at


def _address_end(script: str, at: int) -> int | None:
    if number := _NUMBER.match(script, at):
        return number.end()
    at = _blank(script, at)
    if script[at : at + 1] != "/":
        return None
    end = _expression_end(script, at + 1, "/")
    return end + 1 if end is not None and script[end : end + 1] == "I" else end


def _command_end(script: str, at: int) -> int | None:
    """Where one command of a script ends, or None if it is not understood."""
    if at >= len(script):
        return None
    if simple := _SIMPLE.match(script, at):
        return simple.end()
    if script[at] not in "sy" or at + 1 >= len(script):
        return None
    delimiter = script[at + 1]
    if delimiter in "\\\n[]" or delimiter.isalnum() or delimiter.isspace():
        return None
    read_first = _expression_end if script[at] == "s" else _plain_end
    second = read_first(script, at + 2, delimiter)
    third = None if second is None else _plain_end(script, second, delimiter)
    if third is None or script[at] == "y":
        return third
    flags = _CHANGE_FLAGS.match(script, third)
    return flags.end() if flags else None


def _plain_end(script: str, at: int, delimiter: str) -> int | None:
    """Past the delimiter that ends a text."""
    while at < len(script):
        if script[at] == "\\":
            at += 2
        elif script[at] == delimiter:
            return at + 1
        elif script[at] == "\n":
            return None
        else:
            at += 1
    return None


def _expression_end(script: str, at: int, delimiter: str) -> int | None:
    """Past the delimiter that ends a regular expression.

    Programs differ in whether one in brackets ends it: then it is not understood.
    """
    while at < len(script):
        if script[at] == "\\":
            at += 2
        elif script[at] == delimiter:
            return at + 1
        elif script[at] == "[":
            bracket = _BRACKET.match(script, at)
            if bracket is None or delimiter in bracket[0]:
                return None
            at = bracket.end()
        elif script[at] == "\n":
            return None
        else:
            at += 1
    return None

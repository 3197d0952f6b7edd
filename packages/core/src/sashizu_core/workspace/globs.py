"""Globs over path components, in time linear in pattern times path.

`*`, `?` and `[…]` match within one component, `**` any number of components. The regular
expressions are built with atomic groups: a hostile pattern cannot make them search for long.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sashizu_core.workspace.names import parts_of

__all__ = ["BadGlob", "PathGlob", "component", "is_literal"]

_MAGIC = re.compile(r"[*?\[\\]")

_POSIX_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t\n\r\f\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class BadGlob(ValueError):
    """A glob that matches nothing, because it does not end where it should."""


def is_literal(part: str) -> bool:
    """Whether a component has nothing but ordinary characters."""
    return _MAGIC.search(part) is None


def _bracket_end(part: str, start: int) -> int:
    """The index of the `]` that closes the bracket opened before `start`."""
    i = start
    if part[i : i + 1] in ("!", "^"):
        i += 1
    if part[i : i + 1] == "]":
        i += 1
    while i < len(part) and part[i] != "]":
        if part[i] == "\\":
            i += 1
        elif part[i : i + 2] == "[:" and (end := part.find(":]", i + 2)) >= 0:
            i = end + 1
        i += 1
    if i >= len(part):
        raise BadGlob(f"{part!r} opens a bracket and never closes it")
    return i


def _bracket_items(body: str) -> Iterator[tuple[str, bool]]:
    """The items of a bracket, each with whether it is one character (else part of a class)."""
    i = 0
    while i < len(body):
        if body[i : i + 2] == "[:" and (end := body.find(":]", i + 2)) >= 0:
            name = body[i + 2 : end]
            if name not in _POSIX_CLASSES:
                raise BadGlob(f"there is no character class {name!r}")
            yield _POSIX_CLASSES[name], False
            i = end + 2
            continue
        if body[i] == "\\" and i + 1 < len(body):
            i += 1
            yield body[i], True
        elif body[i] == "-":
            yield "-", False
        else:
            yield body[i], True
        i += 1


def _bracket(body: str) -> str:
    """A regular expression class for what stands between `[` and `]`."""
    negated = body[:1] in ("!", "^")
    items = list(_bracket_items(body[1:] if negated else body))
    out: list[str] = []
    i = 0
    while i < len(items):
        text, single = items[i]
        if single and i + 2 < len(items) and items[i + 1] == ("-", False) and items[i + 2][1]:
            high = items[i + 2][0]
            if text <= high:
                out.append(f"{re.escape(text)}-{re.escape(high)}")
            i += 3
            continue
        out.append(re.escape(text) if single or text == "-" else text)
        i += 1
    if not out:
        return "." if negated else r"(?!)"
    return f"[{'^' if negated else ''}{''.join(out)}]"


def _segments(part: str) -> list[str]:
    """Regular expressions of fixed length, with a `*` between each and the next."""
    segments = [""]
    i = 0
    while i < len(part):
        char = part[i]
        if char == "*":
            segments.append("")
        elif char == "?":
            segments[-1] += "."
        elif char == "[":
            end = _bracket_end(part, i + 1)
            segments[-1] += _bracket(part[i + 1 : end])
            i = end
        elif char == "\\":
            i += 1
            if i >= len(part):
                raise BadGlob(f"{part!r} ends in a backslash")
            segments[-1] += re.escape(part[i])
        else:
            segments[-1] += re.escape(char)
        i += 1
    return segments


@lru_cache(maxsize=2048)
def component(part: str) -> re.Pattern[str]:
    """The pattern of one component; use its `fullmatch`.

    Raises:
        BadGlob: the component is no glob.
    """
    first, *rest = _segments(part)
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    # Segments have a fixed length, so the first place where one fits is as good as any other.
    found = "".join(f"(?>.*?{segment})" for segment in middle if segment)
    return re.compile(f"{first}{found}.*{last}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PathGlob:
    """A glob over whole paths; None stands for `**`."""

    parts: tuple[re.Pattern[str] | None, ...]

    @classmethod
    def parse(cls, pattern: str) -> PathGlob:
        """Read a pattern such as `src/**/*.py`. A `**` at the end matches what lies inside.

        Raises:
            BadGlob: a component is no glob.
        """
        parts: list[re.Pattern[str] | None] = [
            None if part == "**" else component(part) for part in parts_of(pattern)
        ]
        if parts and parts[-1] is None:
            parts.insert(len(parts) - 1, component("*"))
        return cls(tuple(parts))

    def matches(self, path: Sequence[str]) -> bool:
        """Whether the components of a path match, all of them."""
        at = here = 0
        star = -1
        again = 0
        while at < len(path):
            part = self.parts[here] if here < len(self.parts) else _END
            if part is None:
                star, again = here, at
                here += 1
            elif part.fullmatch(path[at]):
                here += 1
                at += 1
            elif star >= 0:
                again += 1
                here, at = star + 1, again
            else:
                return False
        return all(part is None for part in self.parts[here:])


_END = re.compile(r"(?!)")

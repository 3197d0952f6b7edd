"""What a repository's `.gitignore` files leave out. Source: gitignore(5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sashizu_core.workspace.globs import BadGlob, PathGlob, component, is_literal

__all__ = ["IgnoreFile", "ignored"]

MAX_RULES = 10_000
"""The most rules of one file that are read; further ones are as if they were not there."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """One line. `name` matches the last component alone, `path` all from the file's folder."""

    negated: bool
    folders_only: bool
    name: re.Pattern[str] | None = None
    path: PathGlob | None = None

    def matches(self, parts: Sequence[str], is_folder: bool) -> bool:
        if self.folders_only and not is_folder:
            return False
        if self.name is not None:
            return self.name.fullmatch(parts[-1]) is not None
        return self.path is not None and self.path.matches(parts)


def _without_blanks(line: str) -> str:
    """A line without the blanks at its end, but for one that a backslash keeps."""
    stripped = line.rstrip(" ")
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    if len(stripped) < len(line) and backslashes % 2:
        return stripped + " "
    return stripped


def _read_line(line: str) -> tuple[str, _Rule] | None:
    """The literal name a line matches (or an empty text) and its rule; None where it has none."""
    text = _without_blanks(line.rstrip("\r"))
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text[1:] if negated else text
    folders_only = text.endswith("/")
    text = text[:-1] if folders_only else text
    if not text or text.endswith("/") or "//" in text:
        return None  # names have no empty part, so it matches nothing
    try:
        if "/" in text:
            return "", _Rule(negated, folders_only, path=PathGlob.parse(text))
        literal = text if is_literal(text) else ""
        return literal, _Rule(negated, folders_only, name=component(text))
    except BadGlob:
        return None  # git, too, lets such a line match nothing


class IgnoreFile:
    """The rules of one `.gitignore`, which lies `depth` components below the root of the walk."""

    def __init__(self, text: str, depth: int) -> None:
        self.depth = depth
        self._by_name: dict[str, list[tuple[int, _Rule]]] = {}
        self._others: list[tuple[int, _Rule]] = []
        for number, line in enumerate(text.split("\n")[:MAX_RULES]):
            if (found := _read_line(line)) is None:
                continue
            literal, rule = found
            place = self._by_name.setdefault(literal, []) if literal else self._others
            place.append((number, rule))

    def verdict(self, parts: Sequence[str], is_folder: bool) -> bool | None:
        """Whether a path from here is ignored; None where no rule speaks of it. The last wins."""
        best, ignores = -1, None
        for rules in (self._by_name.get(parts[-1], ()), self._others):
            for number, rule in reversed(rules):
                if number < best:
                    break
                if rule.matches(parts, is_folder):
                    best, ignores = number, not rule.negated
                    break
        return ignores


def ignored(files: Iterable[IgnoreFile], parts: Sequence[str], *, is_folder: bool) -> bool:
    """Whether a path is ignored by the files of the folders above it, nearest first.

    What lies in an ignored folder is not asked about: nobody enters it.
    """
    for file in files:
        verdict = file.verdict(parts[file.depth :], is_folder)
        if verdict is not None:
            return verdict
    return False

"""What a patch is, once it is read, and how its lines are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["FilePatch", "Hunk", "Op", "PatchError", "PatchLines", "operation"]

Op = Literal[" ", "-", "+"]


class PatchError(ValueError):
    """The text is no patch, or says something that is not done. Says the line, from 1."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """One place of a change. `lines` are operations with their text, without line ends.

    `old_line` and `new_line` are where it should lie before and after, from 1 (0 before the first
    line); None where the patch does not say. `anchors` are lines that stand above it, outermost
    first; with `at_end` it ends with the file. `final_newline` is False where the new file's last
    line has no end.
    """

    lines: tuple[tuple[Op, str], ...]
    old_line: int | None = None
    new_line: int | None = None
    anchors: tuple[str, ...] = ()
    at_end: bool = False
    final_newline: bool = True

    @property
    def old(self) -> tuple[str, ...]:
        return tuple(text for op, text in self.lines if op != "+")

    @property
    def new(self) -> tuple[str, ...]:
        return tuple(text for op, text in self.lines if op != "-")


@dataclass(frozen=True, slots=True)
class FilePatch:
    """What happens to one file. `move_to` is its new path; an added file is all in its hunks."""

    action: Literal["add", "update", "delete"]
    path: str
    hunks: tuple[Hunk, ...] = ()
    move_to: str | None = None


class PatchLines:
    """Lines with a place in them."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._lines = lines
        self._at = 0

    def peek(self) -> str | None:
        return self._lines[self._at] if self._at < len(self._lines) else None

    def next(self) -> str:
        line = self.peek()
        if line is None:
            raise self.fault("the patch ends too early", len(self._lines))
        self._at += 1
        return line

    def fault(self, message: str, number: int | None = None) -> PatchError:
        """An error about the line that was taken last."""
        return PatchError(f"line {number or self._at} of the patch: {message}")


def operation(lines: PatchLines) -> tuple[Op, str]:
    """The next line as one of a hunk."""
    line = lines.next()
    if not line:
        return " ", ""  # an empty line of context, whose blank got lost
    match line[0]:
        case " ":
            return " ", line[1:]
        case "-":
            return "-", line[1:]
        case "+":
            return "+", line[1:]
        case _:
            raise lines.fault(f"expected ' ', '-' or '+' in front, found {line[:60]!r}")

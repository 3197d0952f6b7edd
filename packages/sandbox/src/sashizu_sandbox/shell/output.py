"""What programs print: as lines of plain text, in order, with the middle left out if it is long."""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Callable

__all__ = ["Lines", "Output"]

HEAD_CHARACTERS = 24 * 1024
TAIL_CHARACTERS = 40 * 1024
MAX_LINE_CHARACTERS = 8 * 1024
"""A longer line is taken in pieces."""

_ESCAPES = re.compile(
    r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?"
    r"|\[[0-?]*[ -/]*[@-~]?|[ -/]*.?)"
    r"|\x9b[0-?]*[ -/]*[@-~]?",
    re.DOTALL,
)
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def plain(line: str) -> str:
    """A line as it would stand there in the end, without what steers a terminal."""
    shown = _ESCAPES.sub("", line).rstrip("\r")
    last = shown.rsplit("\r", maxsplit=1)[-1]  # a progress bar writes over itself
    return _UNSEEN.sub("", last)


class Output:
    """Collects lines from several streams in the order in which they come.

    The first and the last are kept. `progress` hears every line.
    """

    def __init__(self, progress: Callable[[str], None] | None = None) -> None:
        self._progress = progress
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = 0
        self._left_out = self._left_out_lines = 0

    def add(self, line: str, end: str = "\n") -> None:
        """Take one line; `end` is what ended it, empty where it goes on."""
        text = plain(line)
        if self._progress is not None and text.strip():
            self._progress(text)
        text += end
        if not self._tail and self._head_size + len(text) <= HEAD_CHARACTERS:
            self._head.append(text)
            self._head_size += len(text)
            return
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size > TAIL_CHARACTERS:
            gone = self._tail.popleft()
            self._tail_size -= len(gone)
            self._left_out += len(gone)
            self._left_out_lines += gone.endswith("\n")

    def text(self) -> str:
        """All that was kept, with a note of what was not."""
        note = ""
        if self._left_out:
            note = f"\n[left out: {self._left_out_lines} lines, {self._left_out} characters]\n\n"
        return "".join(self._head) + note + "".join(self._tail)


class Lines:
    """Makes lines of the bytes of one stream, as UTF-8; what is not UTF-8 is replaced."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes, final: bool = False) -> None:
        """Take some bytes; with `final`, the last line is complete as it is."""
        *lines, self._rest = (self._rest + self._decoder.decode(data, final)).split("\n")
        for line in lines:
            self._output.add(line)
        while len(self._rest) > MAX_LINE_CHARACTERS:
            self._output.add(self._rest[:MAX_LINE_CHARACTERS], end="")
            self._rest = self._rest[MAX_LINE_CHARACTERS:]
        if final and self._rest:
            self._output.add(self._rest)
            self._rest = ""

"""The hash chain over the lines of a segment, and its check.

A line is one JSON object whose last member is `h`, then a newline:

    {"v":1, ... ,"h":"<64 hexadecimal digits>"}

`h` is the SHA-256 over the previous line's `h` (as its 64 digits) followed by this line's bytes up
to, and without, `,"h":"`. It covers the bytes as written, so there is no canonical form to agree
on. The first line of a segment continues the last line of the writer's previous segment and
repeats that `h` as `attrs.previous_h`; a writer's first segment starts from 64 zeros.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import orjson

__all__ = [
    "FIRST_PREVIOUS",
    "Damage",
    "SegmentReport",
    "line_length",
    "link",
    "split_line",
    "verify_lines",
    "verify_segment",
]

FIRST_PREVIOUS = b"0" * 64
_MARK = b',"h":"'
_END = b'"}'
_TAIL = len(_MARK) + 64 + len(_END)


def link(previous: bytes, body: bytes) -> bytes:
    """The `h` of a line: 64 hexadecimal digits. `body` is the line up to `,"h":"`."""
    return sha256(previous + body).hexdigest().encode()


@dataclass(frozen=True, slots=True)
class Damage:
    """One line that is not what was written. `line` counts from 1."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """What a segment holds.

    `events` counts whole lines, `previous` and `head` are the `h` before its first and of its last
    line. `closed` says whether its writer ended it. `torn_bytes` is the length of what follows the
    last whole line: left behind by a crash if the segment is not closed, else a manipulation.
    """

    events: int
    previous: str
    head: str
    closed: bool
    torn_bytes: int
    damage: tuple[Damage, ...]

    @property
    def intact(self) -> bool:
        """Whether every byte is as it was written."""
        return not self.damage and not self.torn_bytes


def verify_segment(path: Path) -> SegmentReport:
    """Check every line of a segment against the chain.

    A change of any byte is found. What a chain alone cannot find: lines missing at the end, and a
    chain that was computed anew.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return verify_lines(file)


def verify_lines(lines: Iterable[bytes], lawful: Collection[str] = ()) -> SegmentReport:
    """Check the lines of a segment, each with its newline, as `verify_segment` does.

    `lawful` are the SHA-256 of lines that were changed lawfully.
    """
    damage: list[Damage] = []
    head = previous = b""
    events = torn = 0
    last = b""
    for number, raw in enumerate(lines, 1):
        whole = raw.endswith(b"\n")
        line = raw[:-1] if whole else raw
        if number == 1:
            head = previous = _previous(line)
        reason = _fault(line, head)
        if reason and lawful and sha256(line).hexdigest() in lawful:
            reason = ""
        if reason and not whole:
            torn = len(raw)
            break
        events += 1
        if reason:
            damage.append(Damage(number, reason))
        head = _stated(line)
        last = line
    closed = _kind(last) == "writer.closed"
    return SegmentReport(events, previous.decode(), head.decode(), closed, torn, tuple(damage))


def line_length(data: bytes) -> int:
    """Where the last line in these bytes ends, newline left out, as far as its marks tell."""
    at = data.rfind(_MARK)
    return len(data) if at < 0 else at + _TAIL


def split_line(line: bytes) -> tuple[bytes, bytes] | None:
    """What a line's hash covers, and the hash it states; None if it has not the shape of a line."""
    if not line.startswith(b"{") or line[-_TAIL : -_TAIL + len(_MARK)] != _MARK:
        return None
    if line[-len(_END) :] != _END:
        return None
    return line[:-_TAIL], _stated(line)


def _fault(line: bytes, previous: bytes) -> str:
    """Why a line is not what was written, or an empty string."""
    parts = split_line(line)
    if parts is None:
        return "no event"
    if link(previous, parts[0]) != parts[1]:
        return "its hash does not continue the chain"
    return ""


def _stated(line: bytes) -> bytes:
    """The `h` that a line says it has; of a line that is none, whatever stands there."""
    digits = line[-_TAIL + len(_MARK) : -len(_END)]
    return digits if digits.isascii() else b""


def _previous(line: bytes) -> bytes:
    try:
        return str(orjson.loads(line)["attrs"]["previous_h"]).encode()
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return b""


def _kind(line: bytes) -> str:
    try:
        return str(orjson.loads(line)["kind"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""

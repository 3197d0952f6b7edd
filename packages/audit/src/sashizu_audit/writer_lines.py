"""Numbers, dates and hashes the lines of one writer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sashizu_audit.chain import FIRST_PREVIOUS, link
from sashizu_audit.layout import FORMAT

__all__ = ["SYSTEM_CLOCK", "Clock", "WriterLines"]

_STEP_NS = 1_000_000_000
"""From here on a jump of the wall clock is recorded, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Where times come from, in nanoseconds: UTC since 1970, and since some fixed instant."""

    wall_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns


SYSTEM_CLOCK = Clock()


class WriterLines:
    """Makes lines; remembers where the chain stands.

    `seq` is the number of the next line, `head` the `h` of the last one. Whoever cannot write lines
    goes back to the earlier `(seq, head)`, and they were never made.
    """

    __slots__ = (
        *("_before_id", "_clock", "_ms", "_offset_ns", "_started_ns", "_tail", "_writer"),
        *("head", "seq", "writer_id"),
    )

    def __init__(self, writer_id: str, clock: Clock) -> None:
        self.writer_id = writer_id
        self.head = FIRST_PREVIOUS
        self.seq = 0
        self._clock = clock
        self._started_ns = clock.monotonic_ns()
        self._offset_ns = clock.wall_ns() - self._started_ns
        random = int.from_bytes(os.urandom(8), "big") >> 2
        # An event's id is a UUIDv7: milliseconds, the low bits of seq, and this writer's own tail.
        tail = f"-{random >> 48 | 0x8000:04x}-{random & 0xFFFF_FFFF_FFFF:012x}"
        self._tail = tail.encode()
        self._writer = writer_id.encode()
        self._ms = -1
        self._before_id = b""

    @property
    def age_ns(self) -> int:
        """Nanoseconds since this writer began, on the monotonic clock."""
        return self._clock.monotonic_ns() - self._started_ns

    def make(self, members: Iterable[tuple[str, bytes]]) -> bytes:
        """The next lines, all of the same instant, each with its newline.

        `members` are kinds of event and their fields, as JSON members without braces. If the wall
        clock has jumped by a second or more since the last call, a line that says so comes first.
        """
        wall, monotonic = self._clock.wall_ns(), self._clock.monotonic_ns()
        offset = wall - monotonic
        step_ns, self._offset_ns = offset - self._offset_ns, offset
        if abs(step_ns) >= _STEP_NS:
            members = [("writer.clock_stepped", b'"attrs":{"step_ns":%d}' % step_ns), *members]
        ms = wall // 1_000_000
        if ms != self._ms:
            self._ms = ms
            self._before_id = (
                f'{{"v":{FORMAT},"event_id":"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7'.encode()
            )
        before_id = self._before_id
        after_id = b'%b","ts_ns":%d,"mono_ns":%d,"writer_id":"%b","seq":' % (
            self._tail, wall, monotonic - self._started_ns, self._writer
        )  # fmt: skip
        seq, head = self.seq, self.head
        lines: list[bytes] = []
        for kind, fields in members:
            body = b'%b%03x%b%d,"kind":"%b"' % (
                before_id, seq & 0xFFF, after_id, seq, kind.encode()
            )  # fmt: skip
            if fields:
                body = b"%b,%b" % (body, fields)
            head = link(head, body)
            lines += (body, b',"h":"', head, b'"}\n')
            seq += 1
        self.seq, self.head = seq, head
        return b"".join(lines)

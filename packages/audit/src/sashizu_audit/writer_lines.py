"""Numbers, dates and hashes the lines of one writer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256

from sashizu_audit.chain import FIRST_PREVIOUS
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
        *("_clock", "_line", "_ms", "_offset_ns", "_started_ns", "_time"),
        *("head", "seq", "writer_id"),
    )

    def __init__(self, writer_id: str, clock: Clock) -> None:
        self.writer_id = writer_id
        self.head = FIRST_PREVIOUS
        self.seq = 0
        self._clock = clock
        self._started_ns = clock.monotonic_ns()
        self._offset_ns = clock.wall_ns() - self._started_ns
        self._line = _template(writer_id)
        self._ms = -1
        self._time = b""

    def now(self) -> tuple[int, int]:
        """Nanoseconds: UTC since 1970, and since this writer began, on the monotonic clock."""
        return self._clock.wall_ns(), self._clock.monotonic_ns() - self._started_ns

    def make(
        self, members: Iterable[tuple[str, bytes]], now: tuple[int, int] | None = None
    ) -> bytes:
        """The next lines, all of the instant `now`, each with its newline.

        `members` are kinds of event and their fields, as JSON members without braces. If the wall
        clock has jumped by a second or more since the last call, a line that says so comes first.
        """
        wall, since = now or self.now()
        offset = wall - since - self._started_ns
        step_ns, self._offset_ns = offset - self._offset_ns, offset
        if not -_STEP_NS < step_ns < _STEP_NS:
            members = [("writer.clock_stepped", b'"attrs":{"step_ns":%d}' % step_ns), *members]
        ms = wall // 1_000_000
        if ms != self._ms:
            self._ms = ms
            self._time = b"%08x-%04x" % (ms >> 16, ms & 0xFFFF)
        line, at, seq, head = self._line, self._time, self.seq, self.head
        made = []
        for kind, fields in members:
            covered = line % (head, at, seq & 0xFFF, wall, since, seq, kind.encode(), fields)
            if not fields:
                covered = covered[:-1]  # the comma
            head = sha256(covered).hexdigest().encode()
            made.append(b'%b,"h":"%b"}\n' % (covered[64:], head))
            seq += 1
        self.seq, self.head = seq, head
        return made[0] if len(made) == 1 else b"".join(made)


def _template(writer_id: str) -> bytes:
    """What the hash of a line covers: the `h` before it, then the line up to its own.

    To fill in: that `h`, the milliseconds of the time as a UUIDv7 has them, the low bits of `seq`,
    the time in nanoseconds, the same since the writer began, `seq`, the kind, the other members.
    """
    # An event's id is a UUIDv7: milliseconds, the low bits of seq, and this writer's own tail.
    random = int.from_bytes(os.urandom(8), "big") >> 2
    tail = f"{random >> 48 | 0x8000:04x}-{random & 0xFFFF_FFFF_FFFF:012x}"
    writer = writer_id.replace("%", "%%")
    return (
        f'%b{{"v":{FORMAT},"event_id":"%b-7%03x-{tail}","ts_ns":%d,"mono_ns":%d,'
        f'"writer_id":"{writer}","seq":%d,"kind":"%b",%b'
    ).encode()

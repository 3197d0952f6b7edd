"""The segments of one writer: where the next line goes, and what happens when there is no room.

Not safe for threads, but for `sync`, which one other thread may call at any time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from sashizu_audit.disk import is_full, sync_folder
from sashizu_audit.layout import FORMAT, Layout
from sashizu_audit.provenance import process_facts
from sashizu_audit.segment import RESERVE, BrokenSegment, Segment
from sashizu_audit.writer_lines import Clock, WriterLines

__all__ = ["BRIEF", "DEFAULT_OPTIONS", "Spool", "WriterOptions"]


_LAST_WORDS_ROOM = 256 * 1024
"""Bytes that a writer takes of the ballast, so that many find some."""


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """How a writer works.

    Attributes:
        flush_s: seconds until what was written is brought to the disk without being asked.
        segment_bytes: a segment that is longer is followed by the next.
        segment_s: a segment that is older, in seconds, is followed by the next.
        ballast_bytes: room that is kept in the folder for last words; 0 keeps none.
        content: what is kept of texts: nothing, their digests, or the texts as well.
        blob_s: seconds that texts are kept.
        blob_bytes: room that all texts may take together.
    """

    flush_s: float = 0.05
    segment_bytes: int = 16 * 1024 * 1024
    segment_s: float = 15 * 60.0
    ballast_bytes: int = 8 * 1024 * 1024
    content: Literal["none", "hashes", "blobs"] = "hashes"
    blob_s: float = 30 * 86_400.0
    blob_bytes: int = 1024 * 1024 * 1024


DEFAULT_OPTIONS = WriterOptions()

BRIEF = WriterOptions(ballast_bytes=0)
"""For who writes a line and ends: makes no ballast, whose size is not for them to say."""


class Spool:
    """The segments of writer `writer_id`, from its first line to its last.

    `origin` are further facts for the first line of the first segment. All methods raise `OSError`,
    and then nothing was written; after a `BrokenSegment` nothing may be written any more.

    `segment` is the one that is being written, `full` whether only last words are taken, until
    there is room again.
    """

    segment: Segment

    def __init__(
        self,
        layout: Layout,
        options: WriterOptions,
        clock: Clock,
        writer_id: str,
        origin: Mapping[str, Any],
    ) -> None:
        self.lines = WriterLines(writer_id, clock)
        self._layout = layout
        self._options = options
        self._clock = clock
        self._number = 0
        self._first_seq = 0
        self.full = False
        self._retired: deque[Segment] = deque()
        self._new_names = False
        self._roll_bytes = 0
        self._roll_ns = 0
        segment = self._create(0)
        try:
            self._start(segment, 0, origin)
        except BaseException:
            segment.discard()
            raise

    # --- writing ----------------------------------------------------------------------------------

    def append(self, data: bytes) -> None:
        """Write whole lines. On a full disk the ballast is given up, for last words."""
        segment = self.segment
        try:
            if self.full or segment.size + len(data) > segment.reserved:
                self._make_room(len(data))
            segment.append(data)
        except OSError as error:
            if is_full(error) and not isinstance(error, BrokenSegment):
                self.full = True
                self._layout.drop_ballast()
                with suppress(OSError):  # before somebody else takes what was given up
                    segment.reserve(_LAST_WORDS_ROOM)
            raise

    def _make_room(self, length: int) -> None:
        # Another process may have given the ballast up: the disk is full for us as well.
        self._layout.keep_ballast()
        self.full = False
        if not self.segment.has_room(length):
            self.segment.reserve(max(RESERVE, length))

    def append_last_words(self, data: bytes) -> None:
        """Write whole lines where there is room, that of the ballast included."""
        self.segment.reserve(len(data))
        self.segment.append(data)

    def append_own(self, kind: str, attrs: Mapping[str, Any]) -> None:
        """Write one event about this writer."""
        lines = self.lines
        before = lines.seq, lines.head
        data = lines.make([(kind, _attrs(attrs))])
        size = self.segment.size
        try:
            try:
                self.append(data)
            except OSError:
                if not self.full:
                    raise
                self.append_last_words(data)
        except BaseException:
            if self.segment.size == size:
                lines.seq, lines.head = before
            raise

    def append_closed(self, reason: str) -> None:
        """Write the last line of the segment."""
        events = self.lines.seq - self._first_seq + 1
        self.append_own("writer.closed", {"events": events, "reason": reason})

    # --- segments ---------------------------------------------------------------------------------

    def roll_if_due(self) -> tuple[int, int]:
        """Go on in a new segment if this one is long or old, and there is room for it.

        Returns the time, as `lines` has it.
        """
        now = self.lines.now()
        if self.segment.size < self._roll_bytes and now[1] < self._roll_ns:
            return now
        self._roll()
        return self.lines.now()

    def _roll(self) -> None:
        try:
            fresh = self._create(self._number + 1)
        except OSError:
            self._roll_later()
            return
        try:
            self._roll_to(fresh)
        except OSError as error:
            fresh.discard()
            if isinstance(error, BrokenSegment):
                raise
            self._roll_later()

    def _roll_to(self, fresh: Segment) -> None:
        old, lines = self.segment, self.lines
        before = old.size, lines.seq, lines.head
        self.append_closed("rolled")
        try:
            self._start(fresh, self._number + 1, {})
        except OSError:
            old.cut(before[0])
            lines.seq, lines.head = before[1:]
            raise
        self._retired.append(old)

    def _roll_later(self) -> None:
        self._roll_bytes = self.segment.size + RESERVE
        self._roll_ns = self.lines.now()[1] + int(self._options.segment_s * 1e9)

    def _create(self, number: int) -> Segment:
        segment = Segment(self._layout.segment(self.lines.writer_id, number))
        try:
            segment.reserve(RESERVE)
        except BaseException:
            segment.discard()
            raise
        return segment

    def _start(self, segment: Segment, number: int, origin: Mapping[str, Any]) -> None:
        """Write the first line of a segment, and make it the current one."""
        lines = self.lines
        before = lines.seq, lines.head
        attrs = {
            "store_id": self._layout.store_id,
            "format": FORMAT,
            "segment": number,
            "previous_h": lines.head.decode(),
            "monotonic_ns": self._clock.monotonic_ns(),
            **process_facts(),
            **origin,
        }
        try:
            segment.append(lines.make([("writer.opened", _attrs(attrs))]))
        except BaseException:
            lines.seq, lines.head = before
            raise
        self.segment = segment
        self._number = number
        self._first_seq = before[0]
        self._new_names = True
        self._roll_bytes = self._options.segment_bytes
        self._roll_ns = lines.now()[1] + int(self._options.segment_s * 1e9)

    # --- the disk ---------------------------------------------------------------------------------

    def sync(self) -> None:
        """Bring everything that was written before this call to the disk."""
        # In this order: whatever is current now is either still so, or among the retired below.
        current = self.segment
        if self._new_names:
            self._new_names = False
            sync_folder(self._layout.hot)
        while self._retired:
            old = self._retired.popleft()
            old.end()
            if old is current:
                return
        current.sync()

    def end(self) -> None:
        """Sync, and close all files."""
        try:
            while self._retired:
                self._retired.popleft().end()
        finally:
            self.segment.end()

    def abandon(self) -> None:
        """Close our copies of files that belong to the process which forked us."""
        for segment in (*self._retired, self.segment):
            with suppress(OSError):
                segment.abandon()


def _attrs(attrs: Mapping[str, Any]) -> bytes:
    return b'"attrs":' + orjson.dumps(attrs)

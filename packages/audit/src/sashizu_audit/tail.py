"""The newest events, as they are written. Reads the segments itself, without a database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from sashizu_audit.segments import SegmentFile, SegmentKey, hot_segments, sealed_segments

__all__ = ["Tail"]

POLL_S = 0.2

_Event = Mapping[str, Any]


class Tail:
    """Follows all segments of some records; knows how far each has been read."""

    def __init__(self, *folders: Path) -> None:
        self._folders = folders
        self._read_to: dict[SegmentKey, int] = {}
        self._since = ""  # the day from which on sealed segments can hold something new

    def newest(self, count: int, wanted: Callable[[_Event], bool]) -> list[_Event]:
        """The newest `count` events that are wanted, by time; later calls go on after them.

        Sealed segments are read from the newest day back, until there are enough.
        """
        sealed: dict[SegmentKey, SegmentFile] = {}
        hot: dict[SegmentKey, SegmentFile] = {}
        for folder in self._folders:  # what leaves `hot` between the two is read twice, not never
            hot |= hot_segments(folder)
            sealed |= sealed_segments(folder)
        days = sorted({file.day for file in sealed.values()}, reverse=True)
        self._since = days[0] if days else ""
        found = [event for file in _each(hot) for event in self._read_on(file) if wanted(event)]
        for key in sealed:
            self._read_to.setdefault(key, 0 if key in hot else -1)
        for day in days:
            if len(found) >= count:
                break
            for file in _each(sealed):
                unread = file.key not in hot or not self._read_to[file.key]  # sealed under us
                if file.day == day and unread:
                    self._read_to[file.key] = -1
                    found += [event for event in _events(_bytes(file, 0)[0]) if wanted(event)]
        return _by_time(found)[max(0, len(found) - count) :] if count else []

    def new_events(self) -> list[_Event]:
        """Whole events that came since the last call, by time; half a line waits for its end."""
        found: list[_Event] = []
        for folder in self._folders:
            for file in _each(hot_segments(folder)):
                found += self._read_on(file)
            for file in _each(sealed_segments(folder, since=self._since)):
                if self._read_to.get(file.key) != -1:  # sealed before its end was read
                    found += self._read_on(file)
                    self._read_to[file.key] = -1
        return _by_time(found)

    def follow(
        self, wanted: Callable[[_Event], bool], *, sleep: Callable[[float], None]
    ) -> Iterator[_Event]:
        """Events for ever; `sleep` is called with seconds when there is nothing new."""
        while True:
            for event in self.new_events():
                if wanted(event):
                    yield event
            sleep(POLL_S)

    def _read_on(self, file: SegmentFile) -> list[_Event]:
        start = self._read_to.get(file.key, 0)
        if start < 0:
            return []
        data, self._read_to[file.key] = _bytes(file, start)
        return list(_events(data))


def _each(files: Mapping[SegmentKey, SegmentFile]) -> Sequence[SegmentFile]:
    return [files[key] for key in sorted(files)]


def _by_time(events: list[_Event]) -> list[_Event]:
    return sorted(events, key=lambda event: event.get("ts_ns", 0))


def _bytes(file: SegmentFile, start: int) -> tuple[bytes, int]:
    """Whole lines from `start` on, and where they end."""
    try:
        with file.open() as lines:
            lines.seek(start)
            data = lines.read()
    except OSError:
        return b"", start  # gone, or it cannot be unpacked, which `verify` tells
    end = data.rfind(b"\n") + 1
    return data[:end], start + end


def _events(data: bytes) -> Iterator[_Event]:
    for line in data.splitlines():
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # what a crash left of a line
        if isinstance(event, dict) and "h" in event and "kind" in event:
            yield event


def sleeping(seconds: float) -> None:
    """Wait between two looks."""
    time.sleep(seconds)

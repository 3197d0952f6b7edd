"""The newest events, as they are written. Reads the segments itself, without a database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from sashizu_audit.layout import segment_paths

__all__ = ["Tail"]

POLL_S = 0.2


class Tail:
    """Follows all segments of a record; knows how far each has been read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read_to: dict[Path, int] = {}

    def new_events(self) -> list[Mapping[str, Any]]:
        """Whole events that came since the last call, by time; half a line waits for its end."""
        found: list[Mapping[str, Any]] = []
        for path in segment_paths(self._folder):
            found += self._read_on(path)
        return sorted(found, key=lambda event: event.get("ts_ns", 0))

    def follow(
        self, wanted: Callable[[Mapping[str, Any]], bool], *, sleep: Callable[[float], None]
    ) -> Iterator[Mapping[str, Any]]:
        """Events for ever; `sleep` is called with seconds when there is nothing new."""
        while True:
            for event in self.new_events():
                if wanted(event):
                    yield event
            sleep(POLL_S)

    def _read_on(self, path: Path) -> Iterator[Mapping[str, Any]]:
        start = self._read_to.get(path, 0)
        try:
            with path.open("rb") as file:
                file.seek(start)
                data = file.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self._read_to[path] = start + end
        for line in data[:end].splitlines():
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue  # what a crash left of a line
            if isinstance(event, dict) and "h" in event and "kind" in event:
                yield event


def sleeping(seconds: float) -> None:
    """Wait between two looks."""
    time.sleep(seconds)

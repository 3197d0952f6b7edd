"""Who has a device open: found by looking through `/proc`, seldom, and read again often."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sashizu_gpu_driver.drm.fdinfo import Client, parse_client

__all__ = ["MAJORS", "Clients", "Seen", "major_of"]

MAJORS = frozenset({226, 261})
"""Of character devices: `/dev/dri/*` and, for NPUs, `/dev/accel/*`."""

_SEARCH_EVERY_S = 5.0
"""To look at every descriptor of every process costs milliseconds."""


def major_of(path: str) -> int | None:
    """The major number of the character device that a descriptor is of, if it is of one."""
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of times
    except OSError:
        return None
    return os.major(found.st_rdev) if stat.S_ISCHR(found.st_mode) else None


@dataclass(slots=True)
class Seen:
    """One client with who has it open, and how busy it kept each engine in the last interval.

    `percent` is None before the second look.
    """

    pid: int
    client: Client
    at_ns: int
    percent: Mapping[str, float] | None = None
    highest: dict[str, int] = field(default_factory=dict)


class Clients:
    """The clients of all devices that this process may see."""

    def __init__(
        self,
        root: Path,
        clock: Callable[[], int],
        *,
        major: Callable[[str], int | None] = major_of,
    ) -> None:
        self.hidden = 0
        self._root = root
        self._clock = clock
        self._major = major
        self._searched_ns: int | None = None
        self._places: list[tuple[int, Path]] = []
        self._seen: dict[tuple[object, ...], Seen] = {}

    def look(self) -> list[Seen]:
        """Read every client once; `hidden` counts the processes that may not be looked into."""
        now = self._clock()
        if self._searched_ns is None or now - self._searched_ns >= _SEARCH_EVERY_S * 1e9:
            self._places = list(self._search())
            self._searched_ns = now
        seen: dict[tuple[object, ...], Seen] = {}
        for pid, path in self._places:
            client = self._read(path)
            if client is None:
                continue
            # A client that several processes share is told by each of them, and counts once.
            key: tuple[object, ...] = (client.driver, client.address, client.number)
            if client.number is None:
                key = (*key, path)
            if key not in seen:
                seen[key] = self._measured(self._seen.get(key), pid, client)
        self._seen = seen
        return list(seen.values())

    def _read(self, path: Path) -> Client | None:
        try:
            return parse_client(path.read_text("ascii", "replace"))
        except OSError:
            return None

    def _search(self) -> Iterator[tuple[int, Path]]:
        self.hidden = 0
        try:
            names = os.listdir(self._root / "proc")  # noqa: PTH208 - thousands of times
        except OSError:
            return
        for pid in sorted(int(name) for name in names if name.isdecimal()):
            folder = self._root / f"proc/{pid}"
            try:
                descriptors = os.listdir(folder / "fd")  # noqa: PTH208
            except PermissionError:
                self.hidden += 1
                continue
            except OSError:
                continue  # it has ended
            for descriptor in descriptors:
                if self._is_device(folder / "fd" / descriptor):
                    yield pid, folder / "fdinfo" / descriptor

    def _is_device(self, path: Path) -> bool:
        try:
            if not os.readlink(path).startswith("/dev/"):  # noqa: PTH115 - cheaper than stat
                return False
        except OSError:
            return False
        return self._major(str(path)) in MAJORS

    def _measured(self, before: Seen | None, pid: int, client: Client) -> Seen:
        now = self._clock()
        if before is None:
            return Seen(pid, client, now, highest=dict(client.busy))
        passed = now - before.at_ns
        percent: dict[str, float] = {}
        highest = dict(before.highest)
        for engine, count in client.busy.items():
            # Some counters go back for a moment: what was once reached counts.
            reached = highest.get(engine, 0)
            highest[engine] = max(reached, count)
            elapsed = passed
            if engine in client.elapsed:
                elapsed = client.elapsed[engine] - before.client.elapsed.get(engine, 0)
            if elapsed > 0:
                share = (highest[engine] - reached) / elapsed / client.capacity.get(engine, 1)
                percent[engine] = min(100.0, 100.0 * share)
        return Seen(pid, client, now, percent if passed > 0 else before.percent, highest)

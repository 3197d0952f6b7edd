"""The segments of a record, wherever they lie: in `hot` as they were written, or sealed.

```text
hot/<writer>.<n>.jsonl                  written to, or waiting to be sealed
sealed/2026-11-20/<writer>.<n>.jsonl.gz 0400; the same bytes, packed, under the day it ended (UTC)
```
"""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO

import orjson

from sashizu_audit.chain import line_length
from sashizu_audit.disk import sync_path
from sashizu_audit.layout import segment_paths

__all__ = [
    "SegmentFile",
    "SegmentKey",
    "by_writer",
    "find_segments",
    "hot_segments",
    "last_event",
    "sealed_segments",
]

SegmentKey = tuple[str, int]
"""A writer and the number of one of its segments."""

_SEALED = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.(\d+)\.jsonl\.gz")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_CHUNK = 1024 * 1024
_BUFFER = 256 * 1024
_LAST_BYTES = 256 * 1024
"""In which the last line of a segment lies for certain: four times as many as the longest has."""


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """One segment. `day` is where it is sealed, empty while it is hot."""

    writer_id: str
    number: int
    path: Path
    day: str = ""

    @property
    def key(self) -> SegmentKey:
        return self.writer_id, self.number

    @property
    def sealed(self) -> bool:
        return bool(self.day)

    @property
    def folder(self) -> Path:
        """The folder of the record."""
        return self.path.parents[2 if self.sealed else 1]

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The bytes as they were written.

        Raises:
            OSError: the file cannot be read, or what was sealed cannot be unpacked.
        """
        if not self.sealed:
            with self.path.open("rb", _BUFFER) as file:
                yield file
            return
        with gzip.open(self.path, "rb") as packed:
            try:
                yield io.BufferedReader(packed, _CHUNK)
            except (EOFError, zlib.error) as error:
                raise OSError(f"{self.path.name} cannot be unpacked: {error}") from error


def hot_segments(folder: Path) -> dict[SegmentKey, SegmentFile]:
    """Those that lie in `hot`."""
    found = {}
    for path in segment_paths(folder):
        writer_id, number, _ = path.name.split(".")
        found[writer_id, int(number)] = SegmentFile(writer_id, int(number), path)
    return found


def sealed_segments(folder: Path, *, since: str = "") -> dict[SegmentKey, SegmentFile]:
    """Those that are sealed, from the day `since` on. Links and foreign files are left out."""
    root = folder / "sealed"
    try:
        days = sorted(name for name in os.listdir(root) if name >= since and _is_day(name))  # noqa: PTH208
    except FileNotFoundError:
        return {}
    found = {}
    for day in days:
        try:
            with os.scandir(root / day) as entries:
                for entry in entries:
                    match = _SEALED.fullmatch(entry.name)
                    if match and entry.is_file(follow_symlinks=False):
                        file = SegmentFile(match[1], int(match[2]), root / day / entry.name, day)
                        found[file.key] = file
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found


def _is_day(name: str) -> bool:
    try:
        return bool(_DAY.fullmatch(name) and date.fromisoformat(name))
    except ValueError:
        return False


def find_segments(folder: Path) -> list[SegmentFile]:
    """Every segment once, sorted by writer and number; of one that lies in both places the sealed.

    A segment that is sealed meanwhile is in the list for certain.
    """
    # In this order: what leaves `hot` after this was sealed before.
    hot = hot_segments(folder)
    every = {**hot, **sealed_segments(folder)}
    return [every[key] for key in sorted(every)]


def by_writer(files: Iterable[SegmentFile]) -> dict[str, dict[int, SegmentFile]]:
    """Segments by writer and number."""
    found: dict[str, dict[int, SegmentFile]] = {}
    for file in files:
        found.setdefault(file.writer_id, {})[file.number] = file
    return found


def last_event(folder: Path, writer_id: str) -> tuple[int, str] | None:
    """Number and `h` of the last whole line of a writer, on the disk; None where there is none."""
    hot = [file for key, file in sorted(hot_segments(folder).items()) if key[0] == writer_id]
    # Whatever is in `hot` came after what is sealed of the same writer.
    for file in reversed(hot or _sealed_of(folder, writer_id)):
        try:
            if not file.sealed:
                # Who was killed left it in memory, and what others are told of must not be lost.
                sync_path(file.path)
            data = _last_bytes(file)
        except OSError:
            continue
        data = data[: line_length(data)]  # room that was reserved and never written follows
        try:
            event = orjson.loads(data[data.rfind(b"\n") + 1 :])
            return int(event["seq"]), str(event["h"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            continue
    return None


def _sealed_of(folder: Path, writer_id: str) -> list[SegmentFile]:
    found = (folder / "sealed").glob(f"*/{writer_id}.*.jsonl.gz")
    matches = [(path, _SEALED.fullmatch(path.name)) for path in found]
    files = [SegmentFile(m[1], int(m[2]), path, path.parent.name) for path, m in matches if m]
    return sorted(files, key=lambda file: file.number)


def _last_bytes(file: SegmentFile) -> bytes:
    with file.open() as lines:
        if not file.sealed:
            size = lines.seek(0, os.SEEK_END)
            lines.seek(max(0, size - _LAST_BYTES))
            return lines.read()
        data = b""
        while more := lines.read(_CHUNK):
            data = (data + more)[-_LAST_BYTES:]
        return data

"""Packs one segment: the same bytes, compressed, read-only, under the day of its last event."""

from __future__ import annotations

import gzip
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import orjson
from sashizu_core.ids import uuid7

from sashizu_audit.chain import SegmentReport, line_length, split_line, verify_segment
from sashizu_audit.disk import lock, put_in_place, remove, sync_file, sync_folder, sync_path
from sashizu_audit.layout import make_private
from sashizu_audit.manifest import Sealed
from sashizu_audit.segments import SegmentFile

__all__ = ["NotSealable", "Packed", "digest", "pack", "same_bytes"]

_CHUNK = 1024 * 1024
_LEVEL = 6


class NotSealable(Exception):
    """A segment stays where it is; says why."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A segment that was packed, and what its check gave."""

    sealed: Sealed
    report: SegmentReport
    raw_bytes: int


def pack(folder: Path, file: SegmentFile, sealed: SegmentFile | None) -> Packed:
    """Pack a hot segment whose writer has ended; `sealed` is what an earlier attempt left of it.

    The hot file stays; the name of the packed one is not yet brought to the disk. What a crash left
    at its end is packed as well: nothing is cut from evidence.

    Raises:
        NotSealable: it is being written, empty, or not what was written.
        OSError: it cannot be read or packed.
    """
    with file.path.open("rb") as hot:
        size = os.fstat(hot.fileno()).st_size
        if size == 0:
            raise NotSealable("it is empty: its writer may be about to begin, or died before")
        try:
            lock(hot.fileno())
        except OSError:
            raise NotSealable("it is being written") from None
        sync_path(file.path)  # who was killed left it in memory, and what is packed must stay so
        report = _checked(file.path)
        first, last = _ends(file.path, torn=bool(report.torn_bytes))
        day = datetime.fromtimestamp(last["ts_ns"] / 1e9, UTC).date().isoformat()
        target = sealed.path if sealed else _place(folder, day, file)
        if sealed is None:
            _write(hot, target)
        elif not same_bytes(file, sealed):
            raise NotSealable(f"it is not what is sealed as {sealed.path.name}")
    sealed_now = Sealed(
        file.writer_id,
        file.number,
        sealed.day if sealed else day,
        report.events,
        int(first["seq"]),
        int(last["seq"]),
        report.previous,
        report.head,
        target.stat().st_size,
        digest(target),
    )
    return Packed(sealed_now, report, size)


def _checked(path: Path) -> SegmentReport:
    report = verify_segment(path)
    if report.damage or not report.events:
        raise NotSealable("it is not what was written; `sashizu audit verify` tells more")
    if report.closed and report.torn_bytes:
        raise NotSealable("bytes follow its last line; `sashizu audit verify` tells more")
    return report


def described(file: SegmentFile) -> Sealed:
    """What a sealed segment holds, read from itself.

    Raises:
        OSError: it cannot be read or unpacked.
    """
    first = last = b""
    events = 0
    with file.open() as lines:
        for line in lines:
            first = first or line
            if split_line(line.rstrip(b"\n")[: line_length(line.rstrip(b"\n"))]):
                last, events = line, events + 1
    try:
        opened, ended = orjson.loads(first), orjson.loads(last)
        return Sealed(
            file.writer_id,
            file.number,
            file.day,
            events,
            int(opened["seq"]),
            int(ended["seq"]),
            str(opened["attrs"]["previous_h"]),
            str(ended["h"]),
            file.path.stat().st_size,
            digest(file.path),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise OSError(f"{file.path.name} is not what was sealed: {error}") from error


def same_bytes(one: SegmentFile, other: SegmentFile) -> bool:
    """Whether two copies of a segment hold the same.

    Raises:
        OSError: one cannot be read.
    """
    with one.open() as left, other.open() as right:
        while data := left.read(_CHUNK):
            if right.read(len(data)) != data:
                return False
        return not right.read(1)


def _ends(path: Path, *, torn: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The first and the last whole line of a segment that was found intact."""
    first = last = b""
    with path.open("rb") as file:
        for line in file:
            first = first or line
            if line.endswith(b"\n") or not torn:
                last = line
    try:
        found = orjson.loads(first), orjson.loads(last)
        if all(0 <= int(line[name]) < 2**63 for line in found for name in ("seq", "ts_ns")):
            return found
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        pass
    raise NotSealable("its first or last line has no number or time")


def _place(folder: Path, day: str, file: SegmentFile) -> Path:
    place = folder / "sealed" / day
    if not place.is_dir():
        make_private(folder / "sealed")
        make_private(place)
        sync_folder(folder / "sealed")
        sync_folder(folder)
    return place / f"{file.writer_id}.{file.number}.jsonl.gz"


def _write(hot: IO[bytes], target: Path) -> None:
    part = target.with_name(f".{uuid7()}")
    fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o400)
    try:
        with os.fdopen(fd, "wb") as file:
            # Without name and time: the same bytes are packed the same way.
            with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
                while data := hot.read(_CHUNK):
                    packed.write(data)
            file.flush()
            sync_file(file.fileno())
        put_in_place(part, target)
    except BaseException:
        with suppress(OSError):
            remove(part)
        raise


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: it cannot be read.
    """
    found = sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            found.update(data)
    return found.hexdigest()

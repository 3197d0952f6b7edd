"""The Parquet files of sealed segments. They can be deleted: the sealed segments are the record."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import time_ns

from sashizu_core.events import Event
from sashizu_core.ids import uuid7

from sashizu_audit.disk import sync_folder, sync_path
from sashizu_audit.layout import make_private
from sashizu_audit.manifest import Manifest, Sealed, Table
from sashizu_audit.packing import digest
from sashizu_audit.segments import SegmentFile
from sashizu_audit.sources import COLUMNS_DIGEST

__all__ = ["make_table", "remove_strays", "vouching"]

_CHUNK = 1024 * 1024
_SEGMENTS_PER_EVENT = 120
"""So many fit into one line of the record."""


def make_table(folder: Path, sealed: Sequence[Sealed]) -> tuple[Table | None, list[Sealed]]:
    """Write one Parquet file of sealed segments of one day.

    Returns the file and the segments, each with the file it is in. A segment whose events a table
    cannot hold as they are stays in none, and is read as lines.

    Raises:
        RecordError, OSError: it cannot be written; nothing is left of it.
    """
    from sashizu_audit.parquet import write_sorted

    expected: Counter[str] = Counter()
    for one in sealed:
        expected[one.writer_id] += one.events
    place = folder / "parquet" / sealed[0].day
    make_private(folder / "parquet")
    make_private(place)
    part, lines = place / f".{uuid7()}", place / f".{uuid7()}"
    try:
        _gather(folder, sealed, lines)
        counts = write_sorted(lines, part)
        odd = {writer for writer in expected if counts.get(writer) != expected[writer]}
        if odd == set(expected):
            part.unlink()
            return None, [replace(one, table="") for one in sealed]
        if odd:
            part.unlink()
            counts = write_sorted(lines, part, without=odd)
        part.chmod(0o600)
        sync_path(part)
        path = f"parquet/{sealed[0].day}/{uuid7()}.parquet"
        rows, size = sum(counts.values()), part.stat().st_size
        table = Table(path, rows, size, digest(part), time_ns(), True, COLUMNS_DIGEST)
        part.rename(folder / path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    finally:
        lines.unlink(missing_ok=True)
    sync_folder(place)
    sync_folder(place.parent)
    return table, [replace(one, table="" if one.writer_id in odd else path) for one in sealed]


def _gather(folder: Path, sealed: Sequence[Sealed], lines: Path) -> None:
    """Put the lines of segments into one file: of a thousand small ones, DuckDB takes seconds."""
    fd = os.open(lines, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(fd, "wb") as file:
        for one in sealed:
            segment = SegmentFile(one.writer_id, one.segment, folder / one.path, one.day)
            last = b"\n"
            with segment.open() as source:
                while data := source.read(_CHUNK):
                    file.write(data)
                    last = data[-1:]
            if last != b"\n":
                file.write(b"\n")  # what a crash left of a line stays a line of its own


def vouching(actor: str, reason: str, table: Table | None, sealed: Sequence[Sealed]) -> list[Event]:
    """What the record says of these segments and their table, so that neither can be exchanged."""
    fields: dict[str, object] = {"actor": actor, "status": "ok"}
    if table is not None:
        fields |= {"path": table.path, "sha256": table.sha256, "bytes": table.bytes}
    events = []
    for start in range(0, len(sealed), _SEGMENTS_PER_EVENT):
        told = [
            {
                "writer_id": one.writer_id,
                "segment": one.segment,
                "seq": one.last_seq,
                "h": one.h,
                "sha256": one.sha256,
                "in_table": bool(one.table),
            }
            for one in sealed[start : start + _SEGMENTS_PER_EVENT]
        ]
        attrs = {"reason": reason, "segments": told}
        events.append(Event("audit.sealed", {**fields, "attrs": attrs}))
    return events


def remove_strays(folder: Path, manifest: Manifest) -> None:
    """Remove what an interrupted attempt left behind; call it with the lock of sealing."""
    known = {table.path for table in manifest.tables}
    for path in _files(folder / "parquet"):
        if path.relative_to(folder).as_posix() not in known:
            _remove(path)
    for path in _files(folder / "sealed"):
        if path.name.startswith("."):
            _remove(path)
    for path in folder.glob(".sealed.json.*"):
        path.unlink(missing_ok=True)


def _files(root: Path) -> Iterable[Path]:
    return [path for path in root.glob("*/*") if path.is_file() and not path.is_symlink()]


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
    with suppress(OSError):
        path.parent.rmdir()  # only if that was the last one

"""Copies a record for somebody else: its files as they are, or one Parquet table.

A copy is a folder with a `manifest.json`: which record, when, which files with bytes and SHA-256.
In the form `jsonl` it is a record again, whose chains and checkpoints can be verified where it is.
Texts that lie beside the record are not copied.
"""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import time_ns
from typing import Any, Literal

import orjson
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

from sashizu_audit.disk import is_locked
from sashizu_audit.layout import FORMAT
from sashizu_audit.segments import SegmentFile, find_segments
from sashizu_audit.verify import record_id
from sashizu_audit.writer import AuditWriter

__all__ = ["ExportFormat", "export_record"]

ExportFormat = Literal["jsonl", "parquet"]

_CHUNK = 1024 * 1024


def export_record(folder: Path, to: Path, fmt: ExportFormat) -> Mapping[str, Any]:
    """Copy the record in `folder` to the new folder `to`; returns the manifest. Blocks.

    That a copy is taken is on record before there is one, and so is part of it. A copy that fails
    leaves nothing behind.

    Raises:
        UsageError: there is no record, or `to` is there already.
        RecordError: it cannot be recorded, or not be copied.
    """
    store_id = record_id(folder)
    if os.path.lexists(to):
        raise UsageError(f"{str(to)!r} is there already; name a new folder for the copy")
    part = to.with_name(f".{to.name}.{uuid7()}")
    _record(folder, fmt)
    try:
        part.mkdir(mode=0o700)
        try:
            count = _copy_files(folder, part) if fmt == "jsonl" else _write_table(folder, part)
            manifest = _manifest(part, store_id, fmt, count)
            data = orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n"
            (part / "manifest.json").write_bytes(data)
            part.rename(to)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except OSError as error:
        raise RecordError(
            f"the record cannot be copied to {str(to)!r}: {error.strerror or error}"
        ) from error
    return manifest


def _record(folder: Path, fmt: str) -> None:
    fields = {"actor": f"user:{getpass.getuser()}", "status": "ok", "attrs": {"format": fmt}}
    with AuditWriter(folder) as writer:
        writer.write([Event("audit.exported", fields)])
        writer.flush()


def _copy_files(folder: Path, part: Path) -> int:
    """Copy checkpoints first: what they know of is then in the segments."""
    shutil.copyfile(folder / "store.json", part / "store.json")
    with suppress(FileNotFoundError):
        shutil.copytree(
            folder / "checkpoints", part / "checkpoints", ignore=shutil.ignore_patterns(".*")
        )
    (part / "hot").mkdir(mode=0o700)
    count = 0
    for file in find_segments(folder):
        try:
            count += _copy_file(file, part)
        except FileNotFoundError:
            again = next((one for one in find_segments(folder) if one.key == file.key), None)
            if again is None:
                raise
            count += _copy_file(again, part)  # it was sealed meanwhile
    return count


def _copy_file(file: SegmentFile, part: Path) -> int:
    copy = part / file.path.relative_to(file.folder)
    copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.sealed:
        return _copy_segment(file.path, copy)
    shutil.copyfile(file.path, copy)
    with file.open() as lines:
        return sum(data.count(b"\n") for data in iter(lambda: lines.read(_CHUNK), b""))


def _copy_segment(path: Path, copy: Path) -> int:
    """Copy the bytes of a segment; of one that is being written, whole lines. Returns how many."""
    # An empty file must not be asked for its lock: its writer may be about to take it.
    growing = path.stat().st_size == 0 or is_locked(path)
    shutil.copyfile(path, copy)
    lines = end = size = 0
    with copy.open("r+b") as file:
        while data := file.read(_CHUNK):
            lines += data.count(b"\n")
            last = data.rfind(b"\n")
            end = size + last + 1 if last >= 0 else end
            size += len(data)
        if growing:
            file.truncate(end)
    return lines


def _write_table(folder: Path, part: Path) -> int:
    from sashizu_audit.store import AuditStore

    return AuditStore(folder).write_parquet(part / "events.parquet")


def _manifest(part: Path, store_id: str, fmt: str, events: int) -> Mapping[str, Any]:
    files = []
    for path in sorted(path for path in part.rglob("*") if path.is_file()):
        path.chmod(0o600)
        name = path.relative_to(part).as_posix()
        files.append({"path": name, "bytes": path.stat().st_size, "sha256": _digest(path)})
    return {
        "store_id": store_id,
        "format": FORMAT,
        "made_ns": time_ns(),
        "as": fmt,
        "events": events,
        "files": files,
    }


def _digest(path: Path) -> str:
    found = sha256()
    with path.open("rb") as file:
        while data := file.read(_CHUNK):
            found.update(data)
    return found.hexdigest()

"""Copies a record for somebody else: its files as they are, or in a form of other programs.

A copy is a folder with a `manifest.json`: which record, when, which files with bytes and SHA-256.
In the form `copy` it is a record again, whose chains and checkpoints can be verified where it is;
all others may be of one run, and carry no proof. Texts that lie beside the record are not copied.
"""

from __future__ import annotations

import getpass
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any, Literal, get_args

import orjson
from sashizu_core.errors import RecordError, UsageError
from sashizu_core.events import Event
from sashizu_core.ids import uuid7

from sashizu_audit.disk import is_locked
from sashizu_audit.layout import FORMAT
from sashizu_audit.segments import SegmentFile, find_segments
from sashizu_audit.spool import BRIEF
from sashizu_audit.verify import record_id
from sashizu_audit.writer import AuditWriter

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["FORMATS", "ExportFormat", "export_record"]

ExportFormat = Literal["copy", "parquet", "jsonl", "csv", "sqlite", "duckdb", "otlp", "prometheus"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

_CHUNK = 1024 * 1024


def export_record(
    folder: Path, to: Path, fmt: ExportFormat, *, run_id: str | None = None
) -> Mapping[str, Any]:
    """Copy the record in `folder`, or one run of it, to the new folder `to`. Blocks.

    Returns the manifest. That a copy is taken is on record before there is one, and so is part of
    it. A copy that fails or is interrupted leaves nothing behind.

    Raises:
        UsageError: there is no record, `to` is there already, or the form takes no run.
        RecordError: it cannot be recorded, or not be copied.
    """
    store_id = record_id(folder)
    if os.path.lexists(to):
        raise UsageError(f"{str(to)!r} is there already; name a new folder for the copy")
    if to.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{str(to)!r} is inside the record; name a folder elsewhere for the copy")
    if run_id is not None and fmt in ("copy", "parquet"):
        rest = ", ".join(one for one in FORMATS if one not in ("copy", "parquet"))
        raise UsageError(f"the form {fmt!r} is of the whole record; one run comes as {rest}")
    part = to.with_name(f".{to.name}.{uuid7()}")
    _record(folder, fmt, run_id)
    try:
        part.mkdir(mode=0o700)
        try:
            count = _write(folder, part, fmt, run_id)
            manifest = _manifest(part, store_id, fmt, count)
            if run_id is not None:
                manifest["run_id"] = run_id
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


def _record(folder: Path, fmt: str, run_id: str | None) -> None:
    attrs = {"format": fmt} | ({"run_id": run_id} if run_id is not None else {})
    fields = {"actor": f"user:{getpass.getuser()}", "status": "ok", "attrs": attrs}
    with AuditWriter(folder, options=BRIEF) as writer:
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


def _write(folder: Path, part: Path, fmt: ExportFormat, run_id: str | None) -> int:
    """Write the files of a form into the folder `part`; returns how many events they tell of."""
    if fmt == "copy":
        return _copy_files(folder, part)
    from sashizu_audit.store import AuditStore

    store = AuditStore(folder)
    if fmt == "parquet":
        return store.write_parquet(part / "events.parquet")
    snapshot = part / "record.duckdb"
    count = store.write_snapshot(snapshot, run_id)
    if fmt != "duckdb":
        from sashizu_audit.snapshot import open_snapshot

        with open_snapshot(snapshot) as connection:
            _writer_of(fmt)(connection, part)
        snapshot.unlink()
    shutil.rmtree(snapshot.with_suffix(".tmp"), ignore_errors=True)
    return count


def _writer_of(fmt: str) -> Callable[[DuckDBPyConnection, Path], None]:
    from sashizu_audit import otlp, prometheus, rendering

    return {
        "jsonl": rendering.write_jsonl,
        "csv": rendering.write_csv,
        "sqlite": rendering.write_sqlite,
        "otlp": otlp.write_otlp,
        "prometheus": prometheus.write_prometheus,
    }[fmt]


def _manifest(part: Path, store_id: str, fmt: str, events: int) -> dict[str, Any]:
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

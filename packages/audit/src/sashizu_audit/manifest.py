"""What is sealed, and which of it lies in which Parquet file: `sealed.json`.

```json
{"format": 1, "generation": 7,
 "tables": [{"path": "parquet/2026-11-20/<id>.parquet", "rows": 912, "bytes": 90112,
             "sha256": "...", "made_ns": 1795132800000000000, "details": true,
             "columns": "fe9381f2fc744aa0"}],
 "segments": [{"writer_id": "...", "segment": 0, "day": "2026-11-20", "events": 12,
               "first_seq": 0, "last_seq": 11, "previous_h": "...", "h": "...", "bytes": 9120,
               "sha256": "...", "table": "parquet/2026-11-20/<id>.parquet"}],
 "pruned": [{"writer_id": "...", "events": 340}]}
```

It is replaced as a whole, by rename. It is no evidence: what is missing or wrong here,
`sashizu audit verify` says, and `sashizu audit rebuild` makes it anew from the sealed segments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sashizu_core.ids import uuid7

from sashizu_audit.disk import put_in_place, sync_file, sync_folder
from sashizu_audit.segments import SegmentKey

__all__ = ["Manifest", "Sealed", "Table", "read_manifest", "replace_file", "write_manifest"]

_NAME = "sealed.json"
_HEX = r"[0-9a-f]{64}"


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _TableRow(_Row):
    path: str = Field(pattern=r"^parquet/\d{4}-\d\d-\d\d/[0-9a-f-]{36}\.parquet$")
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=f"^{_HEX}$")
    made_ns: int
    details: bool = False
    columns: str = ""


class _SegmentRow(_Row):
    writer_id: str = Field(pattern="^[0-9a-f-]{36}$")
    segment: int = Field(ge=0)
    day: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")
    events: int = Field(ge=0)
    first_seq: int = Field(ge=0)
    last_seq: int = Field(ge=0)
    previous_h: str = Field(pattern=f"^{_HEX}$")
    h: str = Field(pattern=f"^{_HEX}$")
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=f"^{_HEX}$")
    table: str = ""


class _PrunedRow(_Row):
    writer_id: str = Field(pattern="^[0-9a-f-]{36}$")
    events: int = Field(ge=0)


class _File(_Row):
    format: int = Field(ge=1, le=1)
    generation: int = Field(ge=0)
    tables: list[_TableRow]
    segments: list[_SegmentRow]
    pruned: list[_PrunedRow] = []


@dataclass(frozen=True, slots=True)
class Table:
    """One Parquet file; `path` is relative to the folder of the record, `made_ns` is when.

    `details` says that it has a column of this name, which the first versions did not write;
    `columns` tells what other columns it has, empty if nobody knows.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    made_ns: int
    details: bool = False
    columns: str = ""


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed segment.

    `bytes` and `sha256` are those of the packed file, `previous_h` and `h` the hashes before its
    first and of its last event. `table` is the Parquet file it is in, empty if in none.
    """

    writer_id: str
    segment: int
    day: str
    events: int
    first_seq: int
    last_seq: int
    previous_h: str
    h: str
    bytes: int
    sha256: str
    table: str = ""

    @property
    def key(self) -> SegmentKey:
        return self.writer_id, self.segment

    @property
    def path(self) -> str:
        """Where it lies, relative to the folder of the record."""
        return f"sealed/{self.day}/{self.writer_id}.{self.segment}.jsonl.gz"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `sealed.json` says; `fault` says why it could not be read.

    `pruned` has for each writer of whom something is left how many events of it were dropped.
    """

    generation: int = 0
    tables: tuple[Table, ...] = ()
    segments: tuple[Sealed, ...] = ()
    pruned: Mapping[str, int] = field(default_factory=dict)
    fault: str = ""
    _by_key: dict[SegmentKey, Sealed] = field(default_factory=dict, compare=False, repr=False)

    def by_key(self) -> Mapping[SegmentKey, Sealed]:
        """The sealed segments by writer and number."""
        if not self._by_key:
            self._by_key.update({sealed.key: sealed for sealed in self.segments})
        return self._by_key


def read_manifest(folder: Path) -> Manifest:
    """What is sealed; nothing where there is no manifest or it cannot be understood.

    Raises:
        OSError: it is there and cannot be read.
    """
    try:
        data = (folder / _NAME).read_bytes()
    except FileNotFoundError:
        return Manifest()
    try:
        found = _File.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        return Manifest(fault=f"{where or 'it'}: {first['msg']}")
    return Manifest(
        found.generation,
        tuple(Table(**row.model_dump()) for row in found.tables),
        tuple(Sealed(**row.model_dump()) for row in found.segments),
        {row.writer_id: row.events for row in found.pruned},
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Make this the manifest.

    Raises:
        OSError: it cannot be written; the one before stands.
    """
    found: dict[str, Any] = {
        "format": 1,
        "generation": manifest.generation,
        "tables": [asdict(table) for table in manifest.tables],
        "segments": [asdict(sealed) for sealed in manifest.segments],
        "pruned": [
            {"writer_id": writer_id, "events": events}
            for writer_id, events in sorted(manifest.pruned.items())
        ],
    }
    replace_file(folder / _NAME, orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE))


def replace_file(path: Path, data: bytes) -> None:
    """Give a file this content in one step, private to its owner, and bring it to the disk.

    Raises:
        OSError: it cannot be written; what was there before stands.
    """
    part = path.with_name(f".{path.name}.{uuid7()}")
    fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            sync_file(file.fileno())
        put_in_place(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    sync_folder(path.parent)

"""The folder of a record, and the files in it.

```text
audit/               0700
  store.json         format, id of this record, when it was made; written once
  ballast            room that is given up when the disk is full
  hot/               0700
    <writer>.<n>.jsonl   0600; one segment of one writer, locked while that writer lives
  sealed/            0700; segments that were packed, see `sashizu_audit.segments`
  parquet/           0700; tables of what is sealed, for queries; can be deleted
  sealed.json        what is sealed, and in which table; see `sashizu_audit.manifest`
  seal.lock          held by who seals, prunes or redacts; writers never touch it
  holds.json         runs that are kept; holds.lock: held by who changes that, or prunes
  sign.lock          held by who signs a checkpoint; import.lock: by who imports
  blobs/             0700; with content = "blobs"
    ab/<sha256>          0600; a text that the record names by its digest
  checkpoints/       0700; see `sashizu_audit.checkpoints`
```
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import time_ns

import orjson
from sashizu_core.errors import RecordError
from sashizu_core.ids import uuid7

from sashizu_audit.disk import fill, free_bytes, sync_folder

__all__ = ["FORMAT", "Layout", "make_private", "open_layout", "segment_paths"]

FORMAT = 1
"""The version of the format on disk; `v` of every line."""

_SEGMENT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.\d+\.jsonl")


_HARMLESS = re.compile(r"\..*|lost\+found|store\.[0-9a-f-]{36}")
"""What a folder may hold in which a record begins."""


def segment_paths(folder: Path) -> Sequence[Path]:
    """Every segment of a record, sorted by name, which is by when its writer began.

    Anything else that lies there, links included, is left out. Empty if there is no record.
    """
    try:
        with os.scandir(folder / "hot") as entries:
            names = [
                entry.name
                for entry in entries
                if _SEGMENT.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            ]
    except FileNotFoundError:
        return ()
    return [folder / "hot" / name for name in sorted(names)]


@dataclass(frozen=True, slots=True)
class Layout:
    """A record that exists. `ballast_bytes` is how large the ballast should be."""

    folder: Path
    store_id: str
    ballast_bytes: int

    @property
    def hot(self) -> Path:
        return self.folder / "hot"

    def segment(self, writer_id: str, number: int) -> Path:
        return self.hot / f"{writer_id}.{number}.jsonl"

    def begun(self, writer_id: str) -> bool:
        """Whether there is a writer of this id, of whom a segment may be sealed."""
        first = f"{writer_id}.0.jsonl"
        if (self.hot / first).exists():
            return True
        return any((day / f"{first}.gz").exists() for day in (self.folder / "sealed").glob("*"))

    def keep_ballast(self) -> None:
        """Make the ballast if it is not there.

        Raises:
            OSError: there is no room for it.
        """
        path = self.folder / "ballast"
        if self.ballast_bytes == 0 or path.exists():
            return
        # Looked at first: trying would take what other writers need for their last words.
        if free_bytes(self.folder) < self.ballast_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = self.folder / f"ballast.{uuid7()}"
        try:
            fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            try:
                fill(fd, self.ballast_bytes)
            finally:
                os.close(fd)
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def drop_ballast(self) -> None:
        """Give the ballast up, so that last words fit."""
        with suppress(OSError):
            (self.folder / "ballast").unlink()


def open_layout(folder: Path, ballast_bytes: int) -> Layout:
    """The record in a folder; made if it is not there.

    Raises:
        RecordError: it cannot be made, is of another format, or the folder holds something else.
    """
    try:
        _refuse_foreign(folder)
        make_private(folder)
        store_id = _store_id(folder / "store.json")
        make_private(folder / "hot")
        sync_folder(folder)
        layout = Layout(folder, store_id, ballast_bytes)
        layout.keep_ballast()
    except OSError as error:
        raise RecordError(
            f"the record cannot be kept in {str(folder)!r}: {error.strerror or error}; nothing was "
            "done. Make room or give access there, or choose another folder with dir in [audit]"
        ) from error
    return layout


def _refuse_foreign(folder: Path) -> None:
    """Begin no record among somebody's files, nor a second one where the first has lost its id."""
    try:
        names = {name for name in os.listdir(folder) if not _HARMLESS.fullmatch(name)}  # noqa: PTH208
    except FileNotFoundError:
        return
    if not names or "store.json" in names:
        return
    where = repr(str(folder))
    if names & {"hot", "sealed"}:
        raise RecordError(
            f"{where} holds files of a record without its store.json; put that back from a copy, "
            "or choose another folder with dir in [audit]"
        )
    raise RecordError(
        f"{where} is not empty and holds no record: no record begins among other files. Choose "
        "another folder with --store, or with dir in [audit]"
    )


def make_private(folder: Path) -> None:
    """Make a folder that nobody else can look into, or make it so.

    Raises:
        OSError: it cannot be made.
        RecordError: it is somebody else's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not hasattr(os, "geteuid"):
        return
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise RecordError(
            f"the record cannot be kept in {str(folder)!r}: the folder belongs to user "
            f"{found.st_uid}, not to {os.geteuid()}; choose another with dir in [audit]"
        )
    if found.st_mode & 0o077:
        folder.chmod(0o700)


def _store_id(path: Path) -> str:
    """The id of the record; a new one if there is none yet. Of several makers one wins."""
    with suppress(FileNotFoundError):
        return _read_store(path)
    made = {"format": FORMAT, "store_id": uuid7(), "created_ns": time_ns()}
    part = path.with_name(f"store.{made['store_id']}")
    binary = getattr(os, "O_BINARY", 0)
    fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY | binary, 0o600)
    try:
        os.write(fd, orjson.dumps(made) + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    try:
        with suppress(FileExistsError):
            os.link(part, path)
    finally:
        part.unlink()
    return _read_store(path)


def _read_store(path: Path) -> str:
    try:
        found = orjson.loads(path.read_bytes())
        number, store_id = found["format"], str(found["store_id"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise RecordError(f"{str(path)!r} is not the store.json of a record: {error}") from error
    if number != FORMAT:
        raise RecordError(
            f"the record in {str(path.parent)!r} has format {number!r}, and this version writes "
            f"{FORMAT}: update sashizu-audit, or choose another folder with dir in [audit]"
        )
    return store_id

"""The far side of `audit ship`: takes files of a record, and only adds to what is there.

What was sealed or signed is never replaced; a segment that still grows is replaced by a longer one
that begins with what is there; the newest note by one over more digests. Everything else is
refused, and so is what would be another record. Each file is whole and on the disk before it has
its name, so a shipment may break off anywhere.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from itertools import chain
from pathlib import Path

import orjson
from sashizu_core.errors import RecordError
from sashizu_core.ids import uuid7

from sashizu_audit.checkpoints import read_digests, tree_root
from sashizu_audit.disk import put_in_place, sync_folder
from sashizu_audit.layout import FORMAT, make_private
from sashizu_audit.manifest import replace_file
from sashizu_audit.notes import key_name, read_notes
from sashizu_audit.seal_lock import sealing_lock

__all__ = ["CHUNK", "MOST_BYTES", "NOTE", "Receiver", "open_receiver"]

CHUNK = 1024 * 1024
MOST_BYTES = 2 * 1024**3
"""Of one file."""

NOTE = "checkpoints/checkpoint"

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_HOT = re.compile(rf"hot/({_ID}\.\d{{1,9}}\.jsonl)", re.ASCII)
_SEALED = re.compile(rf"sealed/\d{{4}}-\d\d-\d\d/({_ID}\.\d{{1,9}}\.jsonl)\.gz", re.ASCII)
_PART = re.compile(rf"\.store\.json\.{_ID}")
"""What a first shipment leaves that was broken off at once."""

_SIGNED = re.compile(r"checkpoints/(\d{6,9})\.(?:json|note)", re.ASCII)


@contextmanager
def open_receiver(folder: Path, store: bytes) -> Iterator[Receiver]:
    """Take files of the record whose `store.json` this is; one at a time can.

    Raises:
        RecordError: there is another record, another process works on it, or it cannot be written.
    """
    try:
        store_id = _id_of(store)
        own = folder / "store.json"
        if own.exists():
            if _id_of(own.read_bytes()) != store_id:
                raise RecordError(f"{str(folder)!r} holds another record; nothing was taken")
            make_private(folder)
        elif folder.exists() and any(not _PART.fullmatch(one.name) for one in folder.iterdir()):
            raise RecordError(f"{str(folder)!r} is not empty and holds no record")
        else:
            make_private(folder)
            replace_file(own, store)
        with sealing_lock(folder) as mine:
            if not mine:
                raise RecordError(f"another process works on the record in {str(folder)!r}")
            _remove_strays(folder)
            yield Receiver(folder, store_id)
    except OSError as error:
        raise RecordError(
            f"the copy in {str(folder)!r} cannot be written: {error.strerror or error}; what is "
            "there stays as it is, and the next attempt goes on"
        ) from error


def _remove_strays(folder: Path) -> None:
    """Remove what a shipment that broke off has left."""
    for path in folder.glob(".store.json.*"):
        path.unlink(missing_ok=True)
    for place in ("hot/.*", "sealed/*/.*", "checkpoints/.*"):
        for path in folder.glob(place):
            if re.fullmatch(rf"\.{_ID}", path.name):
                path.unlink(missing_ok=True)


def _id_of(store: bytes) -> str:
    try:
        found = orjson.loads(store)
        if found["format"] == FORMAT and re.fullmatch(_ID, found["store_id"]):
            return str(found["store_id"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    raise RecordError("what was sent, or what is there, is no record of this format")


class Receiver:
    """Adds files to the copy of a record. Blocks."""

    def __init__(self, folder: Path, store_id: str) -> None:
        self._folder = folder
        self._store_id = store_id

    def have(self) -> Mapping[str, int]:
        """The files that are there, with their sizes."""
        found = {}
        for place in ("hot/*", "sealed/*/*", "checkpoints/*"):
            for path in self._folder.glob(place):
                name = path.relative_to(self._folder).as_posix()
                if _is_ours(name) and path.is_file() and not path.is_symlink():
                    found[name] = path.stat().st_size
        return found

    def digest(self, name: str) -> str:
        """SHA-256 of a file that is there.

        Raises:
            RecordError: it is not.
        """
        if not _is_ours(name):
            raise RecordError(f"{name[:80]!r} is no file of a record")
        found = sha256()
        for data in _read(self._folder / name):
            found.update(data)
        return found.hexdigest()

    def take(self, name: str, offset: int, digest: str, chunks: Iterable[bytes]) -> None:
        """Add a file, or what follows byte `offset` of it; `digest` is the SHA-256 of it all.

        Raises:
            RecordError: it is no addition, or not what was sent; nothing was done.
        """
        if not _is_ours(name):
            raise RecordError(f"{name[:80]!r} is no file of a record")
        path = self._folder / name
        size = path.stat().st_size if path.exists() else 0
        if (size and not _HOT.fullmatch(name) and name != NOTE) or offset not in (0, size):
            raise RecordError(f"{name} is there already, and is another one")
        for folder in reversed(path.relative_to(self._folder).parents):
            make_private(self._folder / folder)
        before = _read(path) if offset else ()
        part = path.with_name(f".{uuid7()}")
        try:
            if _write(part, chain(before, chunks)) != digest:
                raise RecordError(f"{name} is not a continuation of what is there, or was damaged")
            self._check(name, path, part, offset)
            put_in_place(part, path)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(path.parent)
        self._drop_hot(name)

    def _check(self, name: str, path: Path, part: Path, offset: int) -> None:
        if match := _SEALED.fullmatch(name):
            part.chmod(0o400)
            hot = self._folder / "hot" / match[1]
            if hot.exists() and not _begins_with(part, hot):
                raise RecordError(f"{name} does not begin with what is in {match[1]}")
        elif name == NOTE:
            self._check_note(part.read_text("utf-8", "replace"))
        elif match := _SIGNED.fullmatch(name):
            self._check_number(name, int(match[1]))
        elif _HOT.fullmatch(name) and path.exists() and not offset:
            raise RecordError(f"{name} is there already, and is another one")

    def _check_number(self, name: str, number: int) -> None:
        """Digests come in their order: one out of it would stay, and all look incomplete."""
        place = self._folder / "checkpoints"
        before = place / f"{number - 1:06}.json"
        if (name.endswith(".json") and number and not before.exists()) or (
            name.endswith(".note") and not (place / f"{number:06}.json").exists()
        ):
            raise RecordError(f"{name} does not follow the checkpoints that are there")

    def _check_note(self, text: str) -> None:
        """A note may only speak of more than the one before, and of the digests that are here."""
        digests = read_digests(self._folder)
        old, new = read_notes(digests.note), read_notes(text)
        if len(new) != 1 or new[0].origin != key_name(self._store_id):
            raise RecordError("the newest note is none of this record")
        if old and old[0].size > new[0].size:
            raise RecordError(
                f"the note that is there is over {old[0].size} checkpoints, the new one over "
                f"{new[0].size}: checkpoints were removed"
            )
        if new[0].size > len(digests.leaves) or (
            tree_root(digests.leaves[: new[0].size]) != new[0].root
        ):
            raise RecordError("the newest note is not over the checkpoints that are there")

    def _drop_hot(self, name: str) -> None:
        """Of a segment that is sealed now, and begins with it, the lines go."""
        if match := _SEALED.fullmatch(name):
            (self._folder / "hot" / match[1]).unlink(missing_ok=True)


def _is_ours(name: str) -> bool:
    return name == NOTE or any(one.fullmatch(name) for one in (_HOT, _SEALED, _SIGNED))


def _read(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                yield data
    except FileNotFoundError:
        raise RecordError(f"{path.name} is not there") from None


def _write(path: Path, chunks: Iterable[bytes]) -> str:
    """Write a new file and bring it to the disk; returns its SHA-256, read back."""
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o600)
    with os.fdopen(fd, "r+b") as file:
        for data in chunks:
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(path.parent)
    found = sha256()
    for data in _read(path):
        found.update(data)
    return found.hexdigest()


def _begins_with(packed: Path, lines: Path) -> bool:
    """Whether what is packed begins with these bytes."""
    try:
        with gzip.open(packed, "rb") as sealed:
            return all(sealed.read(len(data)) == data for data in _read(lines))
    except (EOFError, zlib.error, OSError):
        return False

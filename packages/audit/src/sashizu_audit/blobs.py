"""Content that is kept beside the record: one private file per text, named after its SHA-256.

Texts come without secrets. The same text is one file, however often it turns up. What is older than
its time, or more than its room, is swept; the record keeps the digests. Texts of runs that are held
stay, and take none of that room.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import time

from sashizu_core.errors import RecordError
from sashizu_core.ids import uuid7

from sashizu_audit.disk import sync_file, sync_folder
from sashizu_audit.layout import make_private

__all__ = ["LARGEST_BLOB", "Blobs", "blob_path", "open_blobs"]

LARGEST_BLOB = 8 * 1024 * 1024
"""Bytes of a text that is kept; of a longer one the record has the digest alone."""

_SWEEP_S = 3600.0
_FLAGS = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0)
_FLAGS |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def blob_path(folder: Path, digest: str) -> Path:
    """Where the record in `folder` keeps the text with this digest, if it does."""
    return folder / "blobs" / digest[:2] / digest


class Blobs:
    """The texts of a record. `room_bytes` is how much they may take together, `keep_s` how long.

    Not safe for threads, but for `sync`, which one other thread may call at any time.
    """

    def __init__(self, folder: Path, *, room_bytes: int, keep_s: float) -> None:
        self._folder = folder
        self._root = folder / "blobs"
        self._room_bytes = room_bytes
        self._keep_s = keep_s
        self._unsynced: list[Path] = []
        make_private(self._root)
        self._made = {entry.name for entry in os.scandir(self._root) if entry.is_dir()}

    def keep(self, text: str) -> str | None:
        """Keep a text; returns its digest, or None where it is too long.

        Raises:
            OSError: it cannot be written.
        """
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > LARGEST_BLOB:
            return None
        digest = sha256(data).hexdigest()
        path = blob_path(self._folder, digest)
        if path.exists():
            os.utime(path)  # its time begins anew
            return digest
        self._write(path, data)
        return digest

    def _write(self, path: Path, data: bytes) -> None:
        folder = path.parent
        if folder.name not in self._made:
            make_private(folder)
            self._made.add(folder.name)
        part = folder / f".{uuid7()}"
        fd = os.open(part, _FLAGS, 0o600)
        try:
            with os.fdopen(fd, "wb", buffering=0) as file:
                if file.write(data) != len(data):
                    raise OSError(28, os.strerror(28))  # noqa: TRY301 - a short write: it is full
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        self._unsynced.append(path)

    def sync(self) -> None:
        """Bring what was kept before this call to the disk.

        Raises:
            OSError: it is not known to be there.
        """
        folders = set()
        while self._unsynced:
            path = self._unsynced.pop()
            folders.add(path.parent)
            with suppress(FileNotFoundError):  # swept meanwhile
                fd = os.open(path, os.O_RDWR)
                try:
                    sync_file(fd)
                finally:
                    os.close(fd)
        for folder in folders:
            sync_folder(folder)

    # --- retention --------------------------------------------------------------------------------

    def sweep_if_due(self) -> None:
        """Sweep, unless somebody has within the last hour."""
        stamp = self._root / "swept"
        with suppress(OSError):
            if not stamp.exists() or time() - stamp.stat().st_mtime >= _SWEEP_S:
                stamp.touch(mode=0o600)
                self.sweep()

    def sweep(self) -> int:
        """Remove what is due; returns how many texts went."""
        count = 0
        for _, path in self.due():
            with suppress(OSError):  # another process was faster
                path.unlink()
                count += 1
        return count

    def due(self) -> list[tuple[int, Path]]:
        """Sizes and paths of what is too old, and then of the oldest until the rest fits."""
        held = self._held()
        if held is None:
            return []
        found = sorted(one for one in self._files() if one[2].name not in held)
        room = sum(size for _, size, _ in found) - self._room_bytes
        oldest = time() - self._keep_s
        gone = []
        for changed, size, path in found:
            if changed >= oldest and room <= 0:
                break
            gone.append((size, path))
            room -= size
        return gone

    def _held(self) -> Collection[str] | None:
        """The texts of runs that are held; None where nobody knows."""
        if not (self._folder / "holds.json").exists():
            return ()
        from sashizu_audit.holds import read_holds

        try:
            holds = read_holds(self._folder).values()
        except RecordError:
            return None
        return {digest for hold in holds for digest in hold.texts}

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            with suppress(OSError):
                facts = path.lstat()
                found.append((facts.st_mtime, facts.st_size, path))
        return found


def open_blobs(folder: Path, *, room_bytes: int, keep_s: float) -> Blobs:
    """The texts of the record in `folder`.

    Raises:
        RecordError: they cannot be kept there.
    """
    try:
        return Blobs(folder, room_bytes=room_bytes, keep_s=keep_s)
    except OSError as error:
        raise RecordError(
            f"texts cannot be kept in {str(folder / 'blobs')!r}: {error.strerror or error}; "
            'nothing was done. Give access there, or keep none with content = "hashes" in [audit]'
        ) from error

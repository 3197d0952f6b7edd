"""Makes a checkpoint: reads where every writer stands, brings that to the disk, and signs it."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sashizu_core.errors import RecordError
from sashizu_core.events import Event

from sashizu_audit.chain import split_line
from sashizu_audit.checkpoints import Head, append_digest, read_digests, save_note, tree_root
from sashizu_audit.disk import locked, sync_folder, sync_path
from sashizu_audit.fields import LINE_LIMIT
from sashizu_audit.manifest import read_manifest
from sashizu_audit.notes import Signer
from sashizu_audit.segments import SegmentFile, find_segments, hot_segments
from sashizu_audit.spool import BRIEF
from sashizu_audit.writer import AuditWriter

__all__ = ["Made", "make_checkpoint", "newest_heads", "sign_now", "signing_lock"]

_CHUNK = 1024 * 1024
_WAIT_S = 30.0
"""Seconds that who signs is waited for."""
_PLACE = re.compile(rb'"writer_id":"([^"]+)","seq":(\d{1,19}),"kind":"')


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint: its note, how many there are now, and how many writers it is the first of."""

    note: str
    size: int
    writers: int


def make_checkpoint(
    folder: Path,
    signer: Signer,
    told: Mapping[str, object] = MappingProxyType({}),
    *,
    cosigner: Signer | None = None,
) -> Made:
    """Sign where the record in `folder` stands, and record that it was done. Blocks.

    `told` is what else the digest says, such as what is about to be dropped. What is signed is what
    is there: whether it is intact, `verify_record` tells. A `cosigner` takes the signer's place
    from then on; a signer whose key evolves names one of its own each time, and gives way to it.

    Raises:
        RecordError: the checkpoint cannot be written, or not be recorded; or another is being made.
    """
    with signing_lock(folder):
        signer.renew()
        return sign_now(folder, signer, told, cosigner=cosigner)


@contextmanager
def signing_lock(folder: Path) -> Iterator[None]:
    """Let nobody else sign for the record, or change its key, while the block runs. Waits a while.

    Of two that change a key at once one would lose its key, and with it all further proof.

    Raises:
        RecordError: somebody else is at it for too long, or the lock cannot be made.
    """
    try:
        with locked(folder / "sign.lock", _WAIT_S) as mine:
            if not mine:
                raise RecordError(
                    f"another process is signing for the record in {str(folder)!r}; try again"
                )
            yield
    except OSError as error:
        raise RecordError(
            f"no checkpoint can be made in {str(folder)!r}: {error.strerror or error}"
        ) from error


def sign_now(
    folder: Path,
    signer: Signer,
    told: Mapping[str, object] = MappingProxyType({}),
    *,
    cosigner: Signer | None = None,
) -> Made:
    """`make_checkpoint` for who holds the lock of signing, and has the key that signs now.

    Raises:
        RecordError: as there.
    """
    try:
        digests = read_digests(folder)
        if digests.missing:
            raise RecordError(
                f"checkpoint {digests.missing[0] + 1} of the record in {str(folder)!r} is missing, "
                "so no further one can follow it; `sashizu audit verify` tells more"
            )
        known = {head.writer_id: head for _, head in digests.heads()}
        successor = cosigner or signer.successor()
        if successor is not None:
            change = {"previous": signer.public.line, "next": successor.public.line}
            told = {"key": change, **told}
        heads = [h for w, h in newest_heads(folder).items() if _is_news(h, known.get(w))]
        _bring_to_disk(folder, {head.writer_id for head in heads})
        digests = append_digest(folder, heads, digests, told)
        root = tree_root(digests.leaves)
        note = signer.note(len(digests.leaves), root, successor)
        save_note(folder, note, change=len(digests.leaves) - 1 if successor else None)
        if cosigner is None and successor is not None:
            signer.give_way(successor)
    except OSError as error:
        raise RecordError(
            f"no checkpoint can be made in {str(folder)!r}: {error.strerror or error}"
        ) from error
    _record(folder, len(digests.leaves), root, (cosigner or signer).public.line)
    return Made(note, len(digests.leaves), len(heads))


def _record(folder: Path, size: int, root: bytes, key: str) -> None:
    attrs = {"size": size, "root": root.hex(), "key": key}
    actor = f"user:{getpass.getuser()}"
    with AuditWriter(folder, options=BRIEF) as writer:
        writer.write([Event("audit.checkpointed", {"actor": actor, "attrs": attrs})])
        writer.flush()


def _is_news(head: Head, known: Head | None) -> bool:
    """Whether a head says more than the one that was signed; what was dropped is known already."""
    return known is None or head.seq > known.seq or (head.seq == known.seq and head.h != known.h)


def newest_heads(folder: Path) -> Mapping[str, Head]:
    """The last whole event of every writer, by writer.

    Raises:
        OSError: a segment cannot be read.
    """
    known = read_manifest(folder).by_key()
    heads: dict[str, Head] = {}
    for file in sorted(find_segments(folder), key=lambda file: -file.number):
        if file.writer_id in heads:
            continue
        sealed = known.get(file.key)
        if file.sealed and sealed is not None:
            heads[file.writer_id] = Head(file.writer_id, sealed.last_seq, sealed.h)
        elif head := _last_line(file):
            heads[file.writer_id] = head
    return {writer_id: heads[writer_id] for writer_id in sorted(heads)}


def _last_line(file: SegmentFile) -> Head | None:
    """What the last whole line of a segment says of itself; None if there is none."""
    try:
        whole = _end(file)
    except FileNotFoundError:  # sealed meanwhile
        sealed = next((one for one in find_segments(file.folder) if one.key == file.key), None)
        whole = _end(sealed) if sealed else b""
    for line in reversed(whole.split(b"\n")):
        parts = split_line(line)
        place = _PLACE.search(line, 0, 400)
        if parts is not None and place is not None and place[1] == file.writer_id.encode():
            return Head(file.writer_id, int(place[2]), parts[1].decode())
    return None


def _end(file: SegmentFile) -> bytes:
    """The last lines of a segment."""
    with file.open() as lines:
        if file.sealed:
            data = b""
            while more := lines.read(_CHUNK):
                data = (data + more)[-4 * LINE_LIMIT :]
        else:
            size = lines.seek(0, os.SEEK_END)
            lines.seek(max(0, size - 4 * LINE_LIMIT))
            data = lines.read()
    return data.rpartition(b"\n")[0]


def _bring_to_disk(folder: Path, writers: set[str]) -> None:
    """What is signed must not be lost to a power cut: that would look like a manipulation."""
    for file in hot_segments(folder).values():  # what is sealed was brought there before
        if file.writer_id in writers:
            with suppress(FileNotFoundError):
                sync_path(file.path)
    sync_folder(folder / "hot")

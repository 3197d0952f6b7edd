"""Makes a checkpoint: reads where every writer stands, brings that to the disk, and signs it."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sashizu_core.errors import RecordError
from sashizu_core.events import Event

from sashizu_audit.chain import split_line
from sashizu_audit.checkpoints import Head, append_digest, read_digests, save_note, tree_root
from sashizu_audit.disk import sync_file, sync_folder
from sashizu_audit.fields import LINE_LIMIT
from sashizu_audit.layout import segment_paths
from sashizu_audit.notes import Signer
from sashizu_audit.writer import AuditWriter

__all__ = ["Made", "make_checkpoint", "newest_heads"]

_PLACE = re.compile(rb'"writer_id":"([^"]+)","seq":(\d{1,19}),"kind":"')


@dataclass(frozen=True, slots=True)
class Made:
    """A checkpoint: its note, how many there are now, and how many writers it is the first of."""

    note: str
    size: int
    writers: int


def make_checkpoint(folder: Path, signer: Signer) -> Made:
    """Sign where the record in `folder` stands, and record that it was done. Blocks.

    What is signed is what is there: whether it is intact, `verify_record` tells.

    Raises:
        RecordError: the checkpoint cannot be written, or not be recorded.
    """
    try:
        digests = read_digests(folder)
        if digests.missing:
            raise RecordError(
                f"checkpoint {digests.missing[0] + 1} of the record in {str(folder)!r} is missing, "
                "so no further one can follow it; `sashizu audit verify` tells more"
            )
        told = {head.writer_id: head for _, head in digests.heads()}
        heads = [h for w, h in newest_heads(folder).items() if told.get(w) != h]
        _bring_to_disk(folder, {head.writer_id for head in heads})
        digests = append_digest(folder, heads, digests)
        root = tree_root(digests.leaves)
        note = signer.note(len(digests.leaves), root)
        save_note(folder, note)
    except OSError as error:
        raise RecordError(
            f"no checkpoint can be made in {str(folder)!r}: {error.strerror or error}"
        ) from error
    attrs = {"size": len(digests.leaves), "root": root.hex(), "key": signer.public.line}
    actor = f"user:{getpass.getuser()}"
    with AuditWriter(folder) as writer:
        writer.write([Event("audit.checkpointed", {"actor": actor, "attrs": attrs})])
        writer.flush()
    return Made(note, len(digests.leaves), len(heads))


def newest_heads(folder: Path) -> Mapping[str, Head]:
    """The last whole event of every writer, by writer.

    Raises:
        OSError: a segment cannot be read.
    """
    heads: dict[str, Head] = {}
    for path in segment_paths(folder):
        head = _last_line(path)
        if head is not None:
            known = heads.get(head.writer_id)
            if known is None or head.seq > known.seq:
                heads[head.writer_id] = head
    return heads


def _last_line(path: Path) -> Head | None:
    """What the last whole line of a segment says of itself; None if there is none."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 4 * LINE_LIMIT))
        whole, _, _ = file.read().rpartition(b"\n")
    writer_id = path.name.partition(".")[0]
    for line in reversed(whole.split(b"\n")):
        parts = split_line(line)
        place = _PLACE.search(line, 0, 400)
        if parts is not None and place is not None and place[1] == writer_id.encode():
            return Head(writer_id, int(place[2]), parts[1].decode())
    return None


def _bring_to_disk(folder: Path, writers: set[str]) -> None:
    """What is signed must not be lost to a power cut: that would look like a manipulation."""
    for path in segment_paths(folder):
        if path.name.partition(".")[0] in writers:
            with suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
                try:
                    sync_file(fd)
                finally:
                    os.close(fd)
    sync_folder(folder / "hot")

"""Checkpoints: signed statements of how far every writer's chain had come.

```text
checkpoints/             0700
  000000.json            the first digest: writers, and number and hash of the last event of each
  000001.json            the next one: those that have gone on since
  checkpoint             a signed note over all of them; replaced by the next
  000001.note            a note that two keys signed, kept: see `sashizu_audit.keys`
```

Digests are never changed. They are the leaves of a tree as in RFC 6962, so that an old note, kept
elsewhere, still tells whether the first digests are those it was signed over.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from time import time_ns
from types import MappingProxyType

import orjson
from sashizu_core.errors import RecordError
from sashizu_core.ids import uuid7

from sashizu_audit.disk import sync_file, sync_folder
from sashizu_audit.layout import make_private

__all__ = [
    "Digests",
    "Head",
    "append_digest",
    "digest_name",
    "read_digests",
    "save_note",
    "tree_root",
    "tree_roots",
]

_DIGEST = re.compile(r"\d{6,}\.json")
_CHANGE = re.compile(r"\d{6,}\.note")
_MOST_MISSING = 100
"""So many missing digests are told of, beyond as many as there are."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a writer's chain stood: the number and the `h` of an event."""

    writer_id: str
    seq: int
    h: str


@dataclass(frozen=True, slots=True)
class Digests:
    """What lies in `checkpoints`: the bytes of the digests, and the text of the note.

    `missing` are numbers of digests that are gone though later ones are there, `changes` the notes
    about changes of keys, by the number of their digest.
    """

    leaves: tuple[bytes, ...] = ()
    note: str = ""
    missing: tuple[int, ...] = ()
    changes: Mapping[int, str] = field(default_factory=dict)

    def heads(self) -> Iterable[tuple[int, Head]]:
        """What the digests say, each with the digest's number."""
        for number, leaf in enumerate(self.leaves):
            try:
                writers = orjson.loads(leaf)["writers"]
                heads = [Head(str(w["writer_id"]), int(w["seq"]), str(w["h"])) for w in writers]
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                continue  # its bytes are not those that were signed, which the root tells
            for head in heads:
                yield number, head


def digest_name(number: int) -> str:
    """Where a digest lies, relative to the folder of the record."""
    return f"checkpoints/{number:06}.json"


def read_digests(folder: Path) -> Digests:
    """The digests of the record in `folder`; nothing where there are none.

    Raises:
        OSError: they cannot be read.
    """
    place = folder / "checkpoints"
    try:
        there = [path.name for path in place.iterdir()]
    except FileNotFoundError:
        return Digests()
    names = [name for name in there if _DIGEST.fullmatch(name)]
    changes = {
        int(name.partition(".")[0]): (place / name).read_text("utf-8", "replace")
        for name in there
        if _CHANGE.fullmatch(name)
    }
    paths = {int(name.partition(".")[0]): place / name for name in names}
    # Of a copy that somebody else made a number may be absurd: then those before it are missing.
    count = min(max(paths, default=-1) + 1, 2 * len(paths) + _MOST_MISSING)
    missing = tuple(number for number in range(count) if number not in paths)
    leaves = tuple(paths[n].read_bytes() if n in paths else b"" for n in range(count))
    note = ""
    with suppress(FileNotFoundError):
        note = (place / "checkpoint").read_text("utf-8", "replace")
    return Digests(leaves, note, missing, changes)


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The root of the Merkle tree over these bytes (RFC 6962, section 2.1)."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = tree_root(leaves[:split]), tree_root(leaves[split:])
    return sha256(b"\1" + left + right).digest()


def tree_roots(leaves: Sequence[bytes]) -> list[bytes]:
    """The roots over the first one, the first two and so on, in one go."""
    roots: list[bytes] = []
    whole: list[tuple[int, bytes]] = []  # roots of full trees, from the largest to the smallest
    for leaf in leaves:
        size, node = 1, sha256(b"\0" + leaf).digest()
        while whole and whole[-1][0] == size:
            node = sha256(b"\1" + whole.pop()[1] + node).digest()
            size *= 2
        whole.append((size, node))
        root = whole[-1][1]
        for _, left in reversed(whole[:-1]):
            root = sha256(b"\1" + left + root).digest()
        roots.append(root)
    return roots


def append_digest(
    folder: Path,
    heads: Iterable[Head],
    digests: Digests,
    told: Mapping[str, object] = MappingProxyType({}),
) -> Digests:
    """Write the next digest, which says where these writers stand; returns all digests.

    `told` are further members of it, see `sashizu_audit.dropped`.

    Raises:
        RecordError: another checkpoint was made at the same time.
        OSError: it cannot be written; nothing was done.
    """
    place = folder / "checkpoints"
    make_private(place)
    number = len(digests.leaves)
    leaf = orjson.dumps(
        {
            "number": number,
            "made_ns": time_ns(),
            "previous_sha256": sha256(digests.leaves[-1]).hexdigest() if number else "",
            "writers": [
                {"writer_id": head.writer_id, "seq": head.seq, "h": head.h} for head in heads
            ],
            **told,
        }
    )
    part = _write_part(place, leaf)
    try:
        os.link(part, folder / digest_name(number))
    except FileExistsError:
        raise RecordError("another checkpoint was made at the same time; try again") from None
    finally:
        part.unlink()
    sync_folder(place)
    return replace(digests, leaves=(*digests.leaves, leaf))


def save_note(folder: Path, note: str, *, change: int | None = None) -> None:
    """Make this the newest signed note; `change` is the digest of a change of keys, if it is one.

    Raises:
        OSError: it cannot be written.
    """
    place = folder / "checkpoints"
    if change is not None:
        _write_part(place, note.encode()).replace(place / f"{change:06}.note")
    _write_part(place, note.encode()).replace(place / "checkpoint")
    sync_folder(place)


def _write_part(place: Path, data: bytes) -> Path:
    part = place / f".{uuid7()}"
    fd = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            sync_file(file.fileno())
    except BaseException:
        part.unlink()
        raise
    return part

"""Which key signs a record, and how one takes the place of another.

A change of keys is a checkpoint whose digest names both,

```json
{"key": {"previous": "NAME+ID+KEY", "next": "NAME+ID+KEY"}}
```

and whose note both sign. That note is kept for good, as `checkpoints/<number>.note`, because the
newest note is signed by the newest key alone. So whoever holds an old public key can follow to the
new one, and whoever holds the new one can check what the old one signed before the change.

Where `<id>.evolves` lies beside a key, it changes so with every checkpoint, and the old private key
is overwritten and gone: who takes the machine can sign what comes, and nothing of what was. Then
`<id>.first.pub` is the key to check with.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
from sashizu_core.errors import RecordError, UsageError

from sashizu_audit.checkpoints import Digests, read_digests, tree_roots
from sashizu_audit.disk import sync_file, sync_folder
from sashizu_audit.notes import Checkpoint, PublicKey, Signer, keep_line, open_signer, read_notes
from sashizu_audit.signing import Made, sign_now, signing_lock

__all__ = ["Keys", "first_key", "known_keys", "let_evolve", "rotate_key", "signer_of"]


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a record in the order of their use.

    `changes` are the sizes of the notes at which one took the place of the one before.
    """

    keys: tuple[PublicKey, ...]
    changes: tuple[int, ...] = ()

    def fault(self, note: Checkpoint) -> str:
        """Why a note is not signed as it has to be, or an empty string."""
        period = sum(note.size > size for size in self.changes)
        allowed = self.keys[period : period + 1 + (note.size in self.changes)]
        if any(key.signed(note) for key in allowed):
            return ""
        for number, key in enumerate(self.keys):
            if key.signed(note):
                when = f"from checkpoint {self.changes[min(number, len(self.changes) - 1)]} on"
                return f"it is signed by {key.key_id.hex()}, whose time was another: {when}"
        return f"it is not signed by the key {allowed[0].key_id.hex()}"


def known_keys(digests: Digests, key: PublicKey) -> Keys:
    """All keys of a record that the one which is trusted leads to; at least that one."""
    keys: list[PublicKey] = []
    changes: list[int] = []
    roots = tree_roots(digests.leaves) if digests.changes else []
    for number, leaf in enumerate(digests.leaves):
        pair = _change(leaf) if b'"key"' in leaf else None
        if pair is None or not _is_agreed(digests, number, roots, pair):
            continue
        if not keys:
            keys.append(pair[0])
        if keys[-1] == pair[0]:
            keys.append(pair[1])
            changes.append(number + 1)
    return Keys(tuple(keys), tuple(changes)) if key in keys else Keys((key,))


def _change(leaf: bytes) -> tuple[PublicKey, PublicKey] | None:
    """The keys before and after, if a digest tells of a change."""
    with suppress(orjson.JSONDecodeError, KeyError, TypeError, UsageError):
        told = orjson.loads(leaf)["key"]
        return PublicKey.parse(str(told["previous"])), PublicKey.parse(str(told["next"]))
    return None


def _is_agreed(
    digests: Digests, number: int, roots: Sequence[bytes], pair: Sequence[PublicKey]
) -> bool:
    """Whether both keys have signed the change."""
    if number not in digests.changes:
        return False
    for note in read_notes(digests.changes[number]):
        if note.size == number + 1 and note.root == roots[number]:
            return all(key.signed(note) for key in pair)
    return False


def signer_of(folder: Path, keys: Path, store_id: str) -> Signer:
    """The signer of the record in `folder`; its key is made in `keys` if there is none yet.

    A change of keys that was broken off is ended first.

    Raises:
        RecordError: the key cannot be read or made.
    """
    with signing_lock(folder):
        return _signer_of(folder, keys, store_id)


def _signer_of(folder: Path, keys: Path, store_id: str) -> Signer:
    _end_change(folder, keys, store_id)
    return _KeptSigner(open_signer(keys, store_id), folder, keys, store_id)


def _end_change(folder: Path, keys: Path, store_id: str) -> None:
    """End a change of keys that was broken off, where it counts already."""
    fresh = keys / f"{store_id}.next.pem"
    if not fresh.exists():
        return
    try:
        signer = open_signer(keys, store_id, fresh)
        digests = read_digests(folder)  # and only what both have signed counts
        agreed = [_change(digests.leaves[number]) for number in digests.changes]
        if any(pair and pair[1] == signer.public for pair in agreed):
            _take_over(keys, store_id)
    except OSError as error:
        raise RecordError(f"the keys in {str(keys)!r} cannot be used: {error}") from error


def first_key(keys: Path, store_id: str) -> PublicKey | None:
    """The key that all others of a record come from, where this machine has it.

    Raises:
        OSError, UsageError: it cannot be read, or is none.
    """
    for name in (f"{store_id}.first.pub", f"{store_id}.pub"):
        if (keys / name).exists():
            return PublicKey.parse((keys / name).read_text("utf-8"))
    return None


def let_evolve(folder: Path, keys: Path, store_id: str) -> PublicKey:
    """Have the key of a record change with every checkpoint from now on; returns the first one.

    Raises:
        RecordError: the key cannot be read or made.
    """
    signer = signer_of(folder, keys, store_id)
    try:
        first = keys / f"{store_id}.first.pub"
        if not _mark(keys, store_id).exists():
            keep_line(first, signer.public)
            _mark(keys, store_id).touch(0o600)
            sync_folder(keys)
        return PublicKey.parse(first.read_text("utf-8"))
    except OSError as error:
        raise RecordError(f"the keys in {str(keys)!r} cannot be used: {error}") from error


def _mark(keys: Path, store_id: str) -> Path:
    return keys / f"{store_id}.evolves"


class _KeptSigner(Signer):
    """Signs with the key in a folder; where that evolves, one checkpoint with each key."""

    def __init__(self, current: Signer, folder: Path, keys: Path, store_id: str) -> None:
        super().give_way(current)
        self._folder, self._keys, self._store_id = folder, keys, store_id

    def renew(self) -> None:
        super().give_way(_signer_of(self._folder, self._keys, self._store_id))

    def successor(self) -> Signer | None:
        if not _mark(self._keys, self._store_id).exists():
            return None
        fresh = self._keys / f"{self._store_id}.next.pem"
        fresh.unlink(missing_ok=True)  # of an attempt that was broken off before it counted
        return open_signer(self._keys, self._store_id, fresh)

    def give_way(self, successor: Signer) -> None:
        _take_over(self._keys, self._store_id)
        super().give_way(successor)
        keep_line(self._keys / f"{self._store_id}.pub", successor.public)


def rotate_key(folder: Path, keys: Path, store_id: str) -> tuple[Made, Signer]:
    """Sign with a new key from now on; the old one signs the change, and is destroyed. Blocks.

    Returns the checkpoint and the new signer. The old public key stays as `<id>.<its id>.pub`.

    Raises:
        RecordError: it cannot be done; then the old key goes on.
    """
    with signing_lock(folder):
        old = _signer_of(folder, keys, store_id)
        if _mark(keys, store_id).exists():
            return sign_now(folder, old), old
        fresh = keys / f"{store_id}.next.pem"
        try:
            fresh.unlink(missing_ok=True)  # of an attempt that was broken off before it counted
            new = open_signer(keys, store_id, fresh)
            made = sign_now(folder, old, cosigner=new)
            keep_line(keys / f"{store_id}.{old.public.key_id.hex()}.pub", old.public)
            _take_over(keys, store_id)
        except OSError as error:
            raise RecordError(f"the key cannot be changed: {error.strerror or error}") from error
        return made, _signer_of(folder, keys, store_id)


def _take_over(keys: Path, store_id: str) -> None:
    """Put the next private key in the place of the old one, of which nothing stays."""
    with (keys / f"{store_id}.pem").open("r+b") as old:
        old.write(bytes(os.fstat(old.fileno()).st_size))
        old.flush()
        sync_file(old.fileno())
    (keys / f"{store_id}.next.pem").replace(keys / f"{store_id}.pem")
    (keys / f"{store_id}.next.pub").unlink(missing_ok=True)
    sync_folder(keys)

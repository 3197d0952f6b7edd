"""Checks signed notes against the digests that are there, and what digests say was taken out."""

from __future__ import annotations

from pathlib import Path

from sashizu_audit.checkpoints import Digests, digest_name, read_digests, tree_root, tree_roots
from sashizu_audit.dropped import FLOOR_DAYS, Dropped, read_dropped
from sashizu_audit.findings import Finding, Grade, WriterScan
from sashizu_audit.keys import known_keys
from sashizu_audit.notes import Checkpoint, PublicKey, key_name, read_notes

__all__ = ["NoteChecks"]

_NOTE_FILE = "checkpoint"


class NoteChecks:
    """Checks notes against the digests that are there; `signed` of them are proven."""

    def __init__(
        self, folder: Path, digests: Digests, store_id: str, key: PublicKey | None
    ) -> None:
        self._folder = folder
        self._digests = digests
        self._leaves = digests.leaves  # and those that came since, once they are asked for
        self._roots: list[str] = []
        self._origin = key_name(store_id)
        self._key = key
        self._keys = known_keys(digests, key) if key else None
        self.findings: list[Finding] = []
        self.signed = 0
        for number in digests.missing:
            self._find("damage", f"{number:06}.json", "the digest is missing; later ones are there")

    def _find(self, grade: Grade, file: str, reason: str) -> None:
        self.findings.append(Finding(grade, f"checkpoints/{file}", 0, reason))

    def own_note(self) -> None:
        """Check the newest note of the record itself."""
        leaves = self._digests.leaves
        notes = read_notes(self._digests.note)
        if notes:
            self._check(notes[0], _NOTE_FILE)
        elif self._digests.note:
            self._find("damage", _NOTE_FILE, "it is no signed note: it was changed")
        elif leaves:
            self._find("damage", _NOTE_FILE, "the signed note is missing; its digests are there")
        elif self._key is not None:
            reason = "there is a key, and not one checkpoint: none was made, or they were removed"
            self._find("unchecked", _NOTE_FILE, reason)

    def anchor(self, anchor: Checkpoint) -> None:
        """Check a note that was kept elsewhere."""
        self._check(anchor, f"anchor of size {anchor.size}")

    def _check(self, note: Checkpoint, file: str) -> None:
        leaves = self._digests.leaves
        if note.origin != self._origin:
            self._find("damage", file, f"it speaks of another record, {note.origin[:80]}")
        elif self._keys is None:
            self._find("unchecked", file, "there is no key to check its signature with; use --key")
        elif fault := self._keys.fault(note):
            self._find("damage", file, fault)
        elif note.size > len(leaves):
            gone = f"it was signed over {note.size} digests and {len(leaves)} are there"
            self._find("damage", file, f"{gone}: checkpoints were removed")
        elif tree_root(leaves[: note.size]) != note.root:
            self._find("damage", file, "the digests are not those it was signed over")
        else:
            self.signed = max(self.signed, note.size)

    def dropped(self) -> Dropped:
        """What was taken out lawfully: what signed digests say, or all where there is no key."""
        if self._key is None:
            return self._told(read_dropped(self._digests.leaves))
        for number in range(self.signed, len(self._digests.leaves)):
            if read_dropped(self._digests.leaves[number : number + 1]).prunings:
                # What is gone without a signature is found where it is missing.
                reason = "it says that segments are to be dropped, and no signature covers it yet"
                self._find("note", f"{number:06}.json", reason)
        return self._told(read_dropped(self._digests.leaves[: self.signed]))

    def _told(self, dropped: Dropped) -> Dropped:
        for told in dropped.prunings:
            days = f"{told.first_day} to {told.last_day}"
            reason = f"on {told.made} {told.events} events of {days} were dropped"
            if told.youngest_days < FLOOR_DAYS:
                reason += f", when the newest were {told.youngest_days} days old"
            self._find("note", f"{told.digest:06}.json", reason)
        return dropped

    def recorded(self, scan: WriterScan) -> None:
        """Check what the record itself says about a checkpoint that was made."""
        for path, line, attrs in scan.checkpoints:
            size, root = attrs.get("size"), attrs.get("root")
            if not isinstance(size, int) or not isinstance(root, str):
                continue
            if self._root(size) != root:
                reason = f"checkpoint {size}, which it tells of, was removed or changed"
                scan.find("damage", path, line, reason)

    def _root(self, size: int) -> str:
        """The root over the first digests, in hexadecimal; empty if there are not so many."""
        if not self._roots:
            self._roots = [root.hex() for root in (tree_root(()), *tree_roots(self._leaves))]
        if size >= len(self._roots) and (self._folder / digest_name(size - 1)).exists():
            # It was made after they were read.
            self._leaves = read_digests(self._folder).leaves
            self._roots = []
            return self._root(size) if size <= len(self._leaves) else ""
        return self._roots[size] if 0 <= size < len(self._roots) else ""

"""Who may change what is sealed: one process at a time, and nothing that somebody reads."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sashizu_core.errors import RecordError

from sashizu_audit.disk import locked, nobody_reads
from sashizu_audit.manifest import Manifest, read_manifest

__all__ = ["own_name", "readable_manifest", "sealing_lock", "unread"]


@contextmanager
def sealing_lock(folder: Path) -> Iterator[bool]:
    """Whether this process may change what is sealed, while the block runs. Never waits."""
    with locked(folder / "seal.lock") as mine:
        yield mine


def readable_manifest(folder: Path) -> Manifest:
    """The manifest.

    Raises:
        RecordError: it cannot be understood.
    """
    manifest = read_manifest(folder)
    if manifest.fault:
        raise RecordError(
            f"{str(folder / 'sealed.json')!r} cannot be understood ({manifest.fault}); "
            "`sashizu audit rebuild` makes it anew from what is sealed"
        )
    return manifest


def own_name() -> str:
    """Who does it, as the record names people."""
    return f"user:{getpass.getuser()}"


@contextmanager
def unread(folder: Path) -> Iterator[bool]:
    """Whether nobody asks the record just now, who would have to begin anew if files went.

    Then they stay until the next attempt: they count for nothing any more.
    """
    with nobody_reads(folder / "store.json") as unread:
        yield unread

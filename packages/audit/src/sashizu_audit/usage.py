"""How much room a record takes, and whether that is more than it may."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Usage", "measure"]

_PARTS = ("hot", "sealed", "parquet", "blobs", "checkpoints")


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of each part of a record."""

    hot: int
    sealed: int
    parquet: int
    blobs: int
    checkpoints: int
    other: int

    @property
    def total(self) -> int:
        return self.hot + self.sealed + self.parquet + self.blobs + self.checkpoints + self.other


def measure(folder: Path) -> Usage:
    """How much room the record in a folder takes; the ballast counts.

    Raises:
        OSError: it cannot be looked at.
    """
    sums = dict.fromkeys(_PARTS, 0)
    for part in _PARTS:
        sums[part] = sum(_sizes(folder / part))
    other = sum(
        entry.stat(follow_symlinks=False).st_size
        for entry in os.scandir(folder)
        if entry.is_file(follow_symlinks=False)
    )
    return Usage(**sums, other=other)


def _sizes(root: Path) -> Iterator[int]:
    for place, _, names in os.walk(root):
        for name in names:
            try:
                yield os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 - many files
            except FileNotFoundError:
                continue

"""Unpacks sealed segments ahead: the next one in a thread of its own, while one is read."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import IO

from sashizu_audit.segments import SegmentFile

__all__ = ["Ahead"]

_MOST_PACKED = 8 * 1024 * 1024
_MOST_BYTES = 64 * 1024 * 1024
"""Bytes of a segment that is unpacked in memory, before and after."""

_GZIP = 31  # zlib's number for that form, its checksum included


class Ahead:
    """Opens segments of one writer, in their order.

    It holds two of them in memory at most, and ends its thread with the block that it is used in.
    """

    def __init__(self, files: Sequence[SegmentFile]) -> None:
        packed = [file for file in files if file.sealed]
        self._waiting = packed[::-1] if len(packed) > 1 else []
        self._pool = ThreadPoolExecutor(1, "sashizu-unpack") if self._waiting else None
        self._next: tuple[SegmentFile, Future[bytes | None]] | None = None
        self._begin()

    def __enter__(self) -> Ahead:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @contextmanager
    def open(self, file: SegmentFile) -> Iterator[IO[bytes]]:
        """The bytes of a segment as they were written, as `SegmentFile.open` gives them.

        Raises:
            OSError: as `SegmentFile.open`.
        """
        data = None
        if self._next is not None and self._next[0] is file:
            data = self._next[1].result()
            self._begin()
        if data is not None:
            yield io.BytesIO(data)
            return
        with file.open() as lines:
            yield lines

    def _begin(self) -> None:
        self._next = None
        if self._pool is not None and self._waiting:
            file = self._waiting.pop()
            self._next = file, self._pool.submit(_unpacked, file)


def _unpacked(file: SegmentFile) -> bytes | None:
    """All of a segment; None where `SegmentFile.open` has to do it, or to tell why it cannot."""
    try:
        if file.path.stat().st_size > _MOST_PACKED:
            return None
        packed = zlib.decompressobj(_GZIP)
        data = packed.decompress(file.path.read_bytes(), _MOST_BYTES)
    except (OSError, zlib.error):
        return None
    return data if packed.eof and not packed.unused_data else None

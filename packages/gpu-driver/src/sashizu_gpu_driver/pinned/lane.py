"""A one-way lane between two processes: memory that both have mapped, and notes about it.

What passes is cut into pieces that fit a few small slots, which are used again and again. So the
slots stay in the processors' caches, and the reader looks at one piece while the writer copies the
next: memory that is as large as what passes would be written to, and fetched from, the main memory.

The notes are bytes over a connected stream socket. The writer says the size in all (8 bytes,
little-endian), then one byte for each piece; the reader answers each with one byte when it is done.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Generator

from sashizu_core.devices import DeviceError

from sashizu_gpu_driver.pinned.memory import SharedMemory

__all__ = ["LaneReader", "LaneWriter"]

SLOTS = 2
"""One is written while the other one is read."""

_SIZE = struct.Struct("<Q")
_PIECE, _DONE = b"p", b"d"


class LaneWriter:
    """The writing end. Blocking, for one thread at a time; `memory` is for this lane alone.

    Half a megabyte of memory is enough: slots of 256 KiB stay in the caches of most processors.
    """

    def __init__(self, memory: SharedMemory, notes: socket.socket) -> None:
        self._memory = memory
        self._notes = notes
        self._midway = False

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Pass bytes to the reader; returns when it has seen them all.

        Raises:
            DeviceError: the reader is gone, or did not answer within the socket's timeout. Then the
                lane is of no use any more: the reader may still read what another piece would be
                written over.
        """
        slot = _slot(self._memory, midway=self._midway)
        with memoryview(data).cast("B") as whole:
            self._midway = True
            try:
                self._notes.sendall(_SIZE.pack(len(whole)))
                under_way = 0
                for number, start in enumerate(range(0, len(whole), slot)):
                    if under_way == SLOTS:
                        under_way -= self._answers()
                    piece = whole[start : start + slot]
                    at = number % SLOTS * slot
                    self._memory.view[at : at + len(piece)] = piece
                    self._notes.sendall(_PIECE)
                    under_way += 1
                while under_way:
                    under_way -= self._answers()
            except OSError as error:
                raise DeviceError(f"the reader of a lane is gone: {error}") from error
            self._midway = False

    def _answers(self) -> int:
        found = self._notes.recv(1)
        if found != _DONE:
            raise DeviceError("the reader of a lane is gone, or no reader")
        return 1


class LaneReader:
    """The reading end. Blocking, for one thread at a time."""

    def __init__(self, memory: SharedMemory, notes: socket.socket) -> None:
        self._memory = memory
        self._notes = notes
        self._midway = False

    def receive(self, most: int) -> Generator[memoryview]:
        """What the writer sends next, of at most so many bytes, piece by piece.

        A piece is the memory itself, and good until the next one is asked for: the writer may write
        to it at any time, so copy what is checked before it is used. Look at all pieces: what is
        left out is still under way, and nothing else can be received.

        Raises:
            DeviceError: the writer is gone, sends more than that, or was silent for longer than the
                socket's timeout.
        """
        slot = _slot(self._memory, midway=self._midway)
        self._midway = True
        (left,) = _SIZE.unpack(self._exactly(_SIZE.size))
        if left > most:
            raise DeviceError(f"a lane's writer sends {left} bytes, and {most} may come")
        number = 0
        while left:
            if self._exactly(1) != _PIECE:
                raise DeviceError("what came over a lane is no note of a piece")
            size, at = min(left, slot), number % SLOTS * slot
            yield self._memory.view[at : at + size]
            left -= size
            number += 1
            self._done()
        self._midway = False

    def _done(self) -> None:
        try:
            self._notes.sendall(_DONE)
        except OSError as error:
            raise DeviceError(f"the writer of a lane is gone: {error}") from error

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:  # with a timeout, a socket does not wait for all of it
            try:
                part = self._notes.recv(count - len(found))
            except OSError as error:
                raise DeviceError(f"the writer of a lane is gone: {error}") from error
            if not part:
                raise DeviceError("the writer of a lane is gone")
            found += part
        return found


def _slot(memory: SharedMemory, *, midway: bool) -> int:
    """The size of a slot, in bytes."""
    if midway:
        raise DeviceError("this lane stopped in the middle of what it passed; make another one")
    if memory.size < SLOTS:
        raise DeviceError(f"{memory.size} byte(s) are no lane; half a megabyte is enough")
    return memory.size // SLOTS

"""Whole lines from a descriptor, with what came after them."""

import os
import select
import sys

__all__ = ["MOST_LINE_BYTES", "Lines"]

MOST_LINE_BYTES = 64 * 1024 * 1024
"""Bytes of one line; who sends more is not listened to any more."""

LOOK_S = 1.0
"""How often the parent is looked for while nothing comes, in seconds."""

_CHUNK = 1 << 16


class Lines:
    """Reads lines of a descriptor in the blocking way. `rest` is what is read and not yet taken."""

    __slots__ = ("_fd", "_parent", "_waits", "rest")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._parent = os.getppid()
        self._waits = sys.platform != "win32"
        self.rest = b""

    def next(self, idle_s: float) -> "bytes | None":
        """The next line without its end; None if there is none: closed, orphaned, or idle."""
        waited = 0.0
        while (end := self.rest.find(b"\n")) < 0:
            if len(self.rest) > MOST_LINE_BYTES:
                return None
            while not self._ready():
                waited += LOOK_S
                if os.getppid() != self._parent or waited >= idle_s:
                    return None
            data = os.read(self._fd, _CHUNK)
            if not data:
                return None
            self.rest += data
        line, self.rest = self.rest[:end], self.rest[end + 1 :]
        return line

    def _ready(self) -> bool:
        return not self._waits or bool(select.select([self._fd], (), (), LOOK_S)[0])

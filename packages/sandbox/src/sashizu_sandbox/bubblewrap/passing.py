"""Messages with descriptors. The standard library's own receiving ignores flags before 3.12."""

from __future__ import annotations

import array
import socket
from collections.abc import Sequence

__all__ = ["receive", "send"]

_MOST_FDS = 8


def send(target: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """Send one message, and descriptors with it.

    Raises:
        OSError: nobody is there any more.
    """
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
    target.sendmsg([data], [rights] if fds else [])


def receive(
    source: socket.socket, most_bytes: int = 65536, *, wait: bool = True
) -> tuple[bytes, list[int]]:
    """Receive one message, and descriptors that no program inherits; nothing at the end.

    Raises:
        BlockingIOError: nothing is there, and `wait` is false or the socket does not block.
        OSError: the connection broke.
    """
    flags = socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT)
    fds = array.array("i")
    data, ancillary, _, _ = source.recvmsg(
        most_bytes, socket.CMSG_SPACE(_MOST_FDS * fds.itemsize), flags
    )
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)

"""One JSON object per line over a Unix socket of the state folder."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import SocketStream

__all__ = ["SUPPORTED", "read_line", "same_user", "send", "short_path", "socket_path"]

SUPPORTED = hasattr(socket, "AF_UNIX")
"""Whether this system has Unix sockets; without them a run cannot be reached from outside."""

MAX_REQUEST_BYTES = 64 * 1024


async def send(stream: SocketStream, value: Mapping[str, Any]) -> None:
    await stream.send(json.dumps(value, default=str).encode() + b"\n")


async def read_line(stream: SocketStream, limit: int = MAX_REQUEST_BYTES) -> bytes:
    data = b""
    while b"\n" not in data:
        if len(data) > limit:
            raise ValueError("the line is too long")
        data += await stream.receive()
    return data.split(b"\n", 1)[0]


def socket_path(folder: Path, run_id: str) -> Path:
    return folder / f"{run_id}.sock"


class short_path:  # noqa: N801 - reads as a function
    """A path to a socket that fits into `sockaddr_un` (108 bytes on Linux, 104 elsewhere).

    A longer one is reached through the descriptor of its folder, where the system allows that.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = -1

    def __enter__(self) -> str:
        if len(os.fsencode(self._path)) < 100 or sys.platform != "linux":
            return str(self._path)
        self._folder = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._folder}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        if self._folder >= 0:
            os.close(self._folder)


def same_user(stream: SocketStream) -> bool:
    """Whether the peer runs as our user; the folder's mode says so where the system cannot."""
    if sys.platform != "linux":
        return True
    raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)  # noqa: S610 - no database here
    peer = raw.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid = int.from_bytes(peer[4:8], sys.byteorder)
    return uid in (os.getuid(), 0)

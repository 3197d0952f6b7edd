"""An address that only this machine reaches, for what listens here in clear text."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from sashizu_core.errors import UsageError

__all__ = ["LOOPBACK", "Address", "listen_on", "read_address"]

LOOPBACK: Mapping[str, socket.AddressFamily] = {
    "127.0.0.1": socket.AF_INET,
    "localhost": socket.AF_INET,
    "::1": socket.AF_INET6,
}
"""The names of this machine that no other one answers to."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where something listens: `url` has no path and no last slash."""

    host: str
    port: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def read_address(text: str, who: str, *, example: str, instead: str) -> Address:
    """Host and port of `HOST:PORT`, `:PORT` or `[V6]:PORT`; port 0 takes any that is free.

    `who` is what listens, in the words of the message; `instead` what to do for other machines.

    Raises:
        UsageError: it is none, or one that other machines reach.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        raise UsageError(f"{who} listens on HOST:PORT, such as {example}, not {text!r}")
    if host == "localhost":  # others ask ::1 for it first, where somebody else may listen
        host = "127.0.0.1"
    if host not in LOOPBACK:
        raise UsageError(f"{who} listens on this machine only, not on {host!r}: {instead}")
    return Address(host, int(port))


def listen_on(address: Address, backlog: int, *, otherwise: str = "") -> socket.socket:
    """A socket that takes connections there; its name has the port that was taken.

    Raises:
        UsageError: somebody else has the address, or it cannot be had; `otherwise` says what helps.
    """
    # With the protocol named, asyncio sends what is short without waiting for more.
    listener = socket.socket(LOOPBACK[address.host], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(backlog)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        hint = f"; {otherwise}" if otherwise else ""
        raise UsageError(
            f"cannot listen on {address.host}:{address.port}: {reason}{hint}"
        ) from error
    return listener

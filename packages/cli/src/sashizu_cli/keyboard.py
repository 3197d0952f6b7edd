"""Answers that a person types at a terminal; nothing is read where nobody sits."""

from __future__ import annotations

import os
import sys

import anyio

__all__ = ["forget_typed", "somebody_there", "typed_line", "wait_for_line"]

LONGEST = 4096
"""Bytes of a line that are read."""

_POLL_S = 0.05


def somebody_there() -> bool:
    """Whether stdin and stderr are terminals and this process may read from its own.

    A job in the background would be stopped by the system for reading.
    """
    if sys.stdin is None or sys.stdin.closed or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    if sys.platform == "win32":
        return True
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except OSError:
        return False


def forget_typed() -> None:
    """Drop what was typed before a question could be seen, so that it answers none."""
    if sys.platform == "win32":
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()
    else:
        import termios

        termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def typed_line() -> str:
    """Wait for one line, in the blocking way; empty at the end of input."""
    return os.read(sys.stdin.fileno(), LONGEST).decode("utf-8", "replace").strip()


async def wait_for_line() -> str:
    """Wait for one line; cancelled at once, without a thread that goes on reading."""
    if sys.platform == "win32":
        import msvcrt

        while not msvcrt.kbhit():  # noqa: ASYNC110 - a console tells nobody of a key
            await anyio.sleep(_POLL_S)
        return msvcrt.getwche().strip()
    await anyio.wait_readable(sys.stdin.fileno())
    return typed_line()

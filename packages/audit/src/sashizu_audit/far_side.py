"""The far side of a shipment behind a command, which says something in time or is given up.

The two sides speak lines of JSON, files as bytes behind the line that announces them; see
`sashizu_audit.shipping`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from selectors import EVENT_READ, EVENT_WRITE, DefaultSelector
from typing import IO, Any

import orjson
from sashizu_core.errors import RecordError, UsageError

from sashizu_audit.command_line import command_words
from sashizu_audit.options import plain

__all__ = ["SILENCE_S", "BrokenOff", "Piped", "far_side"]

SILENCE_S = 120.0
"""Seconds that the far side may neither take nor say anything."""

_MOST_LINE = 256 * 1024**2
_CHUNK = 64 * 1024


class BrokenOff(RecordError):
    """The far side is gone, or as good as gone."""


@contextmanager
def far_side(command: str, silence_s: float = SILENCE_S) -> Iterator[Piped]:
    """What this command leads to, while the block runs; there is no shell in between.

    After `silence_s` seconds without a sign of life it is ended. On Windows, where pipes cannot be
    waited for, it is not.

    Raises:
        UsageError: the command cannot be read.
        RecordError: it cannot be started.
    """
    try:
        words = command_words(command)
    except ValueError as error:
        raise UsageError(f"the command {command!r} cannot be read: {error}") from error
    try:
        process = subprocess.Popen(  # noqa: S603 - who calls us says what to run
            words, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    except OSError as error:
        raise RecordError(f"{command!r} cannot be started: {error}") from error
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Piped(process.stdin, process.stdout, command, silence_s)
    except BaseException:
        process.kill()
        raise
    finally:
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()
        _end(process, silence_s)


def _end(process: subprocess.Popen[bytes], silence_s: float) -> None:
    """Wait for a program that has nothing more to do; not for ever."""
    try:
        process.wait(silence_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Piped:
    """The far side behind two pipes."""

    def __init__(self, to: IO[bytes], answers: IO[bytes], command: str, silence_s: float) -> None:
        self._to, self._answers = to.fileno(), answers.fileno()
        self._command, self._silence_s = command, silence_s
        self._have: Mapping[str, int] = {}
        self._read = b""
        if sys.platform != "win32":
            os.set_blocking(self._to, False)
            os.set_blocking(self._answers, False)

    def greet(self, store: bytes) -> None:
        """Say whose record comes, and hear what is there.

        Raises:
            RecordError: the far side does not want it.
        """
        answer = self._ask({"store": store.decode("utf-8", "replace")})
        found = answer.get("have")
        if not isinstance(found, dict) or not all(isinstance(n, int) for n in found.values()):
            raise self._broken()
        self._have = found

    def have(self) -> Mapping[str, int]:
        """Bytes of each file that is there, by its name."""
        return self._have

    def digest(self, name: str) -> str:
        """The SHA-256 of a file there, in hexadecimal.

        Raises:
            RecordError: it cannot be told.
        """
        return str(self._ask({"digest": name}).get("sha256"))

    def take(self, name: str, offset: int, digest: str, chunks: Iterable[bytes]) -> None:
        """Have a file taken from `offset` on; `digest` is that of the whole of it.

        Raises:
            RecordError: it is not taken.
        """
        data = list(chunks)
        size = sum(map(len, data))
        self._ask({"path": name, "offset": offset, "bytes": size, "sha256": digest}, data)

    def _ask(self, message: Mapping[str, object], data: Iterable[bytes] = ()) -> dict[str, Any]:
        try:
            self._write(orjson.dumps(message) + b"\n")
            for one in data:
                self._write(one)
            found = orjson.loads(self._line())
        except (OSError, orjson.JSONDecodeError) as error:
            raise self._broken() from error
        if not isinstance(found, dict):
            raise self._broken()
        if "refused" in found:
            raise RecordError(plain(str(found["refused"])[:400]))
        return found

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._wait(self._to, EVENT_WRITE)
            with suppress(BlockingIOError):
                left = left[os.write(self._to, left[:_CHUNK]) :]

    def _line(self) -> bytes:
        parts = [self._read]
        size = len(self._read)
        while b"\n" not in parts[-1]:
            self._wait(self._answers, EVENT_READ)
            data = os.read(self._answers, _CHUNK)
            size += len(data)
            if not data or size > _MOST_LINE:
                raise self._broken()
            parts.append(data)
        line, _, self._read = b"".join(parts).partition(b"\n")
        return line

    def _wait(self, fd: int, event: int) -> None:
        if sys.platform == "win32":
            return
        with DefaultSelector() as selector:
            selector.register(fd, event)
            if selector.select(self._silence_s):
                return
        raise BrokenOff(
            f"{self._command!r} has been silent for {self._silence_s:g} s and was ended; what it "
            "has taken stays, and the next attempt goes on from there. --timeout waits longer"
        )

    def _broken(self) -> BrokenOff:
        return BrokenOff(
            f"{self._command!r} ended or answered something else; what it has taken stays, and "
            "the next attempt goes on from there"
        )

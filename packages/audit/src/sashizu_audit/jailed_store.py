"""Asks the record in a process of its own, which can read the record and do nothing else.

For SQL that others write. Our own questions need no jail, see `sashizu_audit.store`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from sashizu_core.errors import SashizuError, UsageError

from sashizu_audit.jail_wire import decode_cell, dump, encode_cell, load
from sashizu_audit.rows import DEFAULT_LIMIT, DEFAULT_TIMEOUT_S, Rows

__all__ = ["JailedStore"]

COMMAND = (sys.executable, "-P", "-m", "sashizu_audit.jail_child")
"""-P: the working directory must not choose what runs."""

_START_S = 120.0
_GRACE_S = 15.0
"""How long after its own limit a process may take to say that a query was stopped."""
_MOST_ANSWER = 1024**3

_PASSED_ON = ("HOME", "LANG", "LC_ALL", "PATH", "PYTHONHOME", "PYTHONPATH", "SYSTEMROOT", "TZ")
"""What a query could see of the environment if the first two layers had a hole."""


class JailedStore:
    """The record in a folder, or in several, asked from inside a jail.

    One process is kept for all questions; a new one is started when it has ended or what it may
    read has changed. `held` is empty while everything holds it, else says what this system lacks.
    Not for several threads at once. Close it, or use it as a context manager.
    """

    def __init__(self, folder: Path, *more: Path) -> None:
        self._folders = (folder, *more)
        self._process: subprocess.Popen[bytes] | None = None
        self._there: tuple[bool, ...] = ()
        self._owner = os.getpid()
        self.held = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def query(
        self,
        sql: str,
        params: Sequence[object] | Mapping[str, object] = (),
        *,
        limit: int = DEFAULT_LIMIT,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Rows:
        """Run one query over the views, as `AuditStore.query` does. Blocks.

        Raises:
            UsageError: it is no query over our views, or wrong SQL, or took too long.
            SashizuError: the record cannot be read, or the process not be started.
        """
        values = dict(params) if isinstance(params, Mapping) else list(params)
        asked = {
            "sql": sql,
            "params": encode_cell(values),
            "limit": limit,
            "timeout_s": timeout_s,
        }
        answer = self._ask(asked, timeout_s)
        try:
            return Rows(
                tuple(map(str, answer["columns"])),
                tuple(map(str, answer["types"])),
                tuple(tuple(map(decode_cell, row)) for row in answer["rows"]),
                bool(answer["truncated"]),
            )
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            self.close()
            raise _not_understood() from error

    def columns(self) -> dict[str, list[tuple[str, str]]]:
        """The views with names and types of their columns, as they are without any event."""
        found = self._ask({"columns": True}, DEFAULT_TIMEOUT_S)["columns"]
        return {
            str(view): [(str(name), str(kind)) for name, kind in columns]
            for view, columns in found.items()
        }

    def _ask(self, question: Mapping[str, object], timeout_s: float) -> dict[str, Any]:
        process = self._started()
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(dump(question))
                process.stdin.flush()
            answer = self._read(process, timeout_s + _GRACE_S)
        except BaseException:  # above all Ctrl-C: what runs in there is not wanted any more
            self.close()
            raise
        if "misused" in answer:
            raise UsageError(str(answer["misused"]))
        if "failed" in answer:
            raise SashizuError(str(answer["failed"]))
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # after a fork: that process is our parent's to ask
            self._owner, self._process = os.getpid(), None
        there = tuple(folder.is_dir() for folder in self._folders)
        if self._process is not None and self._process.poll() is None and there == self._there:
            return self._process
        self.close()
        self._there = there
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # Ctrl-C is ours to act upon
            )
        except OSError as error:
            raise SashizuError(f"the process that asks the record cannot start: {error}") from error
        self._process = process
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(dump({"folders": [str(path) for path in self._folders]}))
                process.stdin.flush()
            self.held = str(self._read(process, _START_S)["held"])
        except BaseException:
            self.close()
            raise
        return process

    def _read(self, process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        """The next answer; the process is killed if it takes too long."""
        late = threading.Timer(seconds, process.kill)
        late.daemon = True
        late.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline(_MOST_ANSWER)
        finally:
            late.cancel()
            late.join()
        if not line.endswith(b"\n"):
            raise SashizuError(
                f"the process that asks the record ended without an answer{_last_words(process)}"
            )
        try:
            return load(line)
        except ValueError as error:
            raise _not_understood() from error


def _not_understood() -> SashizuError:
    return SashizuError("the process that asks the record gave an answer that is none")


def _last_words(process: subprocess.Popen[bytes]) -> str:
    """What a process said of its end."""
    process.kill()
    process.wait()
    errors: IO[bytes] | None = process.stderr
    assert errors is not None
    text = errors.read(4096).decode("utf-8", "replace").strip()
    last = text.splitlines()[-1] if text else ""
    shown = "".join(char if char.isprintable() else "?" for char in last[:300])
    return f": {shown}" if shown else ""

"""The connection of a process to `spend.sqlite`: one, with one transaction at a time."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet, finalize

from sashizu_core.errors import SashizuError

from sashizu_budget.spend_file import open_spend_file

__all__ = ["SpendFile"]

_files: WeakSet[SpendFile] = WeakSet()
_abandoned: list[object] = []


def _forget_after_fork() -> None:
    for file in _files:
        file.forget_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


class SpendFile:
    """The file; opened with the first use, by every process for itself. Thread-safe.

    `now_ns` is the wall clock, which all processes of a machine share.
    """

    def __init__(self, path: Path, *, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.path = path
        self.now_ns = now_ns
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._closing: finalize[Any, Any] | None = None
        _files.add(self)

    def change(self) -> AbstractContextManager[sqlite3.Connection]:
        """One transaction: all of it, on disk, or nothing.

        Raises:
            SashizuError: the file cannot be made, read or written.
        """
        return self._transaction("BEGIN IMMEDIATE")

    def look(self) -> AbstractContextManager[sqlite3.Connection]:
        """One reading of several rows, which holds up nobody who changes them.

        Raises:
            SashizuError: the file cannot be made or read.
        """
        return self._transaction("BEGIN")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                db = self._connected()
                db.execute(begin)
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise SashizuError(
                    f"the record of spending in {str(self.path)!r} cannot be used: {error}; "
                    "nothing was drawn, so nothing is spent"
                ) from error

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        self._connection = open_spend_file(self.path, self.now_ns())
        # Not every ledger is closed by whoever made it.
        self._closing = finalize(self, self._connection.close)
        return self._connection

    def forget_after_fork(self) -> None:
        """In a forked child: the parent's connection is not ours to use, nor to close."""
        self._lock = threading.Lock()
        _abandoned.append(self._connection)
        self._connection = None
        if self._closing is not None:
            self._closing.detach()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._closing is not None:
                self._closing()
            self._connection = None

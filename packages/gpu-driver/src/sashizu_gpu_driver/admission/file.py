"""The file `admission.sqlite`, which all processes of a user share."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sashizu_core.errors import SashizuError
from sashizu_core.shared_sqlite import open_shared

from sashizu_gpu_driver.admission.rows import SCHEMA

__all__ = ["AdmissionFile", "LedgerDamaged"]

BUSY_S = 10.0
"""How long a transaction waits for another process, in seconds."""

VERSION = 3

_FROM_1 = """
ALTER TABLE waiting ADD COLUMN kind TEXT NOT NULL DEFAULT 'gpu';
ALTER TABLE waiting ADD COLUMN first INTEGER NOT NULL DEFAULT 0;
ALTER TABLE waiting ADD COLUMN asked REAL NOT NULL DEFAULT 0;
ALTER TABLE places ADD COLUMN loaded REAL;
"""
_FROM_2 = """
ALTER TABLE places ADD COLUMN memory TEXT NOT NULL DEFAULT '';
ALTER TABLE places ADD COLUMN beat REAL NOT NULL DEFAULT 0;
ALTER TABLE uses ADD COLUMN agent TEXT NOT NULL DEFAULT '';
ALTER TABLE uses ADD COLUMN beat REAL NOT NULL DEFAULT 0;
ALTER TABLE waiting ADD COLUMN agent TEXT NOT NULL DEFAULT ''
"""


class LedgerDamaged(SashizuError):
    """The file is no ledger any more, and will not become one again."""


class _OtherVersion(sqlite3.DatabaseError):
    """The file is that of another version."""


class AdmissionFile:
    """The file; opened with the first use. Thread-safe; not for use after a fork."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it, or nothing.

        Raises:
            LedgerDamaged: the file is no ledger.
            SashizuError: the file cannot be made, read or written.
        """
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = _opened(self.path)
                db = self._connection
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
            except (OSError, sqlite3.Error) as error:
                raise (LedgerDamaged if _is_damaged(error) else SashizuError)(
                    f"the ledger of devices in {str(self.path)!r} cannot be used: {error}; "
                    f"no model was placed{_remedy(error)}"
                ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None


def _is_damaged(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _remedy(error: Exception) -> str:
    """What a person can do about a file that stays as it is."""
    if isinstance(error, _OtherVersion):
        return "; use the newest sashizu that is installed here"
    if _is_damaged(error):
        return "; end all runs and delete it: it says only what runs now and what loads took"
    return ""


def _opened(path: Path) -> sqlite3.Connection:
    db = open_shared(path, BUSY_S)
    try:
        # A place does not outlive its process, so nothing is lost that a power cut could take.
        db.execute("PRAGMA synchronous = NORMAL")
        _prepare(db)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    if _version(db) == VERSION:
        return
    db.execute("BEGIN IMMEDIATE")
    try:
        for step in _steps(_version(db)).split(";"):  # another process may have been faster
            db.execute(step)
        db.execute(f"PRAGMA user_version = {VERSION}")
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _steps(version: int) -> str:
    """What makes a file of that version one of this."""
    steps = {0: SCHEMA, 1: _FROM_1 + _FROM_2, 2: _FROM_2, VERSION: ""}
    if version not in steps:
        raise _OtherVersion(f"it has version {version}, and {VERSION} is known here")
    return steps[version]

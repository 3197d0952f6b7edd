"""Files of SQLite that all processes of a user share: private, and open to all at once."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

__all__ = ["open_shared"]

_POLL_S = 0.01


def open_shared(path: Path, busy_s: float) -> sqlite3.Connection:
    """Open the file at `path`, which is made with its folder where there is none. Blocks.

    Whoever finds another process at it waits `busy_s` seconds, here and in each transaction.
    Transactions are begun by hand; any thread may use the connection, one at a time.

    Raises:
        OSError: the folder or the file cannot be made.
        sqlite3.Error: it is no such file, or stays locked.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Only where there is none: closing any descriptor of the file would take away all locks that
    # another connection of this process has on it, and SQLite would not know.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    try:
        _keep_a_log(db, busy_s)
        db.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        db.close()
        raise
    return db


def _keep_a_log(db: sqlite3.Connection, busy_s: float) -> None:
    """Have readers and a writer at once. SQLite's own patience does not cover this."""
    until = time.monotonic() + busy_s
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(_POLL_S)  # another process makes the file
        else:
            return

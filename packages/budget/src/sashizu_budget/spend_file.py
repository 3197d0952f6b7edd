"""The file `spend.sqlite`: its tables, and how it is opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sashizu_core.errors import SashizuError
from sashizu_core.shared_sqlite import open_shared
from sashizu_core.types import UNITS

__all__ = ["HELD", "LIMIT", "OVER", "SPENT", "open_spend_file"]

BUSY_S = 10.0
"""How long a transaction waits for another process, in seconds."""

KEPT_S = 30 * 86_400
"""How long rows are kept after they ended, in seconds."""

VERSION = 2

HELD = [f"held_{unit}" for unit in UNITS]
SPENT = [f"spent_{unit}" for unit in UNITS]
LIMIT = [f"limit_{unit}" for unit in UNITS]
OVER = [f"over_{unit}" for unit in UNITS]

_SCHEMA = f"""
CREATE TABLE lease (
  id TEXT PRIMARY KEY NOT NULL CHECK (length(id) = 32),
  parent TEXT,
  name TEXT NOT NULL,
  giver_pid INTEGER NOT NULL,
  giver_started TEXT NOT NULL,
  depth INTEGER NOT NULL CHECK (depth >= 0),
  expires_ns INTEGER,
  terms TEXT NOT NULL,
  bounds TEXT NOT NULL,
  ended_ns INTEGER,
  {", ".join(f"{column} INTEGER" for column in LIMIT)},
  {", ".join(f"{column} INTEGER NOT NULL DEFAULT 0" for column in [*HELD, *SPENT, *OVER])},
  {
    ", ".join(
        f"CHECK (held_{u} >= 0 AND spent_{u} >= 0 AND over_{u} >= 0 AND "
        f"(limit_{u} IS NULL OR spent_{u} + held_{u} <= limit_{u} + over_{u}))"
        for u in UNITS
    )
}
) STRICT;
CREATE INDEX lease_parent ON lease (parent);
CREATE TABLE chunk (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  lease TEXT NOT NULL REFERENCES lease (id) ON DELETE CASCADE,
  pid INTEGER NOT NULL,
  started TEXT NOT NULL,
  {", ".join(f"{column} INTEGER NOT NULL DEFAULT 0 CHECK ({column} >= 0)" for column in HELD)}
) STRICT;
CREATE INDEX chunk_lease ON chunk (lease);
CREATE TABLE movement (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ns INTEGER NOT NULL,
  lease TEXT NOT NULL REFERENCES lease (id) ON DELETE CASCADE,
  chunk INTEGER,
  kind TEXT NOT NULL,
  amount TEXT NOT NULL,
  held TEXT NOT NULL,
  spent TEXT NOT NULL
) STRICT;
CREATE INDEX movement_lease ON movement (lease)"""

_WINDOWS = f"""
CREATE TABLE window_limit (
  scope TEXT NOT NULL,
  project TEXT NOT NULL DEFAULT '',
  {", ".join(f"{column} INTEGER CHECK ({column} > 0)" for column in LIMIT)},
  PRIMARY KEY (scope, project)
) STRICT;
CREATE TABLE window_floor (scope TEXT PRIMARY KEY NOT NULL, key TEXT NOT NULL) STRICT;
CREATE TABLE window (
  scope TEXT NOT NULL,
  key TEXT NOT NULL,
  {
    ", ".join(
        f"{column} INTEGER NOT NULL DEFAULT 0 CHECK ({column} >= 0)" for column in [*HELD, *SPENT]
    )
},
  PRIMARY KEY (scope, key)
) STRICT;
CREATE TABLE window_chunk (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  pid INTEGER NOT NULL,
  started TEXT NOT NULL,
  day TEXT NOT NULL,
  month TEXT NOT NULL,
  project TEXT NOT NULL,
  {", ".join(f"{column} INTEGER NOT NULL DEFAULT 0 CHECK ({column} >= 0)" for column in HELD)}
) STRICT;
CREATE TABLE window_movement (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ns INTEGER NOT NULL,
  chunk INTEGER,
  kind TEXT NOT NULL,
  amount TEXT NOT NULL,
  windows TEXT NOT NULL
) STRICT;
CREATE INDEX window_movement_at ON window_movement (at_ns)"""

_STEPS = (_SCHEMA, _WINDOWS)
"""What makes a file of each version out of one of the version before it."""


def open_spend_file(path: Path, now_ns: int) -> sqlite3.Connection:
    """Open the file, and make it where there is none; rows that ended long ago are dropped.

    Every commit is on disk before it returns. `now_ns` is in Unix nanoseconds.

    Raises:
        SashizuError: the folder or the file cannot be made.
        sqlite3.Error: it is no such file, or of another version.
    """
    try:
        db = open_shared(path, BUSY_S)
    except OSError as error:
        raise SashizuError(
            f"what was spent cannot be kept in {str(path)!r}: "
            f"{(error.strerror or str(error)).lower()}"
        ) from error
    try:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        _check(version)
        for step in _STEPS[version:]:
            for statement in step.split(";\n"):
                db.execute(statement)
        if version != VERSION:
            db.execute(f"PRAGMA user_version = {VERSION}")
        long_ago = now_ns - KEPT_S * 10**9
        db.execute("DELETE FROM lease WHERE ended_ns < ?", (long_ago,))
        db.execute("DELETE FROM window_movement WHERE at_ns < ?", (long_ago,))
        db.execute("COMMIT")
    except BaseException:
        db.close()
        raise
    return db


def _check(version: int) -> None:
    if not 0 <= version <= VERSION:
        raise sqlite3.DatabaseError(f"it has version {version}, and {VERSION} is known here")

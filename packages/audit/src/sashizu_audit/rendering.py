"""Turns a snapshot into files of other programs: JSON lines, CSV, SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sashizu_core.errors import RecordError

from sashizu_audit.sources import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

__all__ = ["write_csv", "write_jsonl", "write_sqlite"]

_ORDER = "ORDER BY ts_ns, writer_id, seq"
_BATCH = 1000
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "BOOLEAN")
_INDEXES = ("run_id", "agent_id", "kind", "ts_ns")


def write_jsonl(connection: DuckDBPyConnection, folder: Path) -> None:
    """Write `events.jsonl`: one object a line, in the order of time."""
    to = quoted(str(folder / "events.jsonl"))
    connection.execute(f"COPY (FROM events {_ORDER}) TO {to} (FORMAT json)")


def write_csv(connection: DuckDBPyConnection, folder: Path) -> None:
    """Write one file for `events` and for each view, with a header. Cells are as recorded."""
    for name in _tables(connection):
        chosen = ", ".join(_plain(column, kind) for column, kind in _columns(connection, name))
        order = _ORDER if name == "events" else ""
        to = quoted(str(folder / f"{name}.csv"))
        connection.execute(
            f"COPY (SELECT {chosen} FROM {name} {order}) TO {to} (FORMAT csv, HEADER)"  # noqa: S608 - our names
        )


def write_sqlite(connection: DuckDBPyConnection, folder: Path) -> None:
    """Write `record.sqlite`: a table for `events` and for each view.

    Times, UUIDs and JSON are text, a flag is 0 or 1. A whole number beyond 64 bits is text.

    Raises:
        RecordError: SQLite cannot write it.
    """
    try:
        with closing(sqlite3.connect(folder / "record.sqlite")) as database:
            # The file is thrown away when anything fails: it needs no protection of its own.
            database.execute("PRAGMA journal_mode = OFF")
            database.execute("PRAGMA synchronous = OFF")
            for name in _tables(connection):
                _copy_table(connection, database, name)
            for column in _INDEXES:
                database.execute(f"CREATE INDEX events_{column} ON events ({column})")
            database.commit()
    except sqlite3.Error as error:
        raise RecordError(f"the copy record.sqlite cannot be written: {error}") from error


def _copy_table(connection: DuckDBPyConnection, database: sqlite3.Connection, name: str) -> None:
    columns = _columns(connection, name)
    declared = ", ".join(f'"{column}" {_affinity(kind)}' for column, kind in columns)
    database.execute(f'CREATE TABLE "{name}" ({declared})')
    chosen = ", ".join(_plain(column, kind) for column, kind in columns)
    order = _ORDER if name == "events" else ""
    connection.execute(f"SELECT {chosen} FROM {name} {order}")  # noqa: S608 - our names
    marks = ", ".join("?" * len(columns))
    while rows := connection.fetchmany(_BATCH):
        database.executemany(f'INSERT INTO "{name}" VALUES ({marks})', _fitting(rows))  # noqa: S608


def _fitting(rows: Sequence[Sequence[Any]]) -> Iterator[list[Any]]:
    for row in rows:
        yield [
            str(cell) if isinstance(cell, int) and not -(2**63) <= cell < 2**63 else cell
            for cell in row
        ]


def _tables(connection: DuckDBPyConnection) -> list[str]:
    """`events` and the views of a snapshot."""
    found = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE NOT internal ORDER BY view_name"
    ).fetchall()
    return ["events", *(str(row[0]) for row in found)]


def _columns(connection: DuckDBPyConnection, name: str) -> list[tuple[str, str]]:
    """Names and DuckDB's types."""
    described = connection.execute(f"DESCRIBE {name}").fetchall()
    return [(str(row[0]), str(row[1])) for row in described]


def _plain(column: str, kind: str) -> str:
    """The SQL of a column as a number or a text."""
    if kind.endswith("[]"):
        return f'CAST(to_json("{column}") AS VARCHAR) AS "{column}"'
    if kind == "BOOLEAN":
        return f'CAST("{column}" AS INTEGER) AS "{column}"'
    if kind.endswith(_INTEGERS) or kind in ("DOUBLE", "FLOAT", "VARCHAR"):
        return f'"{column}"'
    return f'CAST("{column}" AS VARCHAR) AS "{column}"'


def _affinity(kind: str) -> str:
    if kind in ("UBIGINT", "HUGEINT", "UHUGEINT"):
        return ""  # a column of whole numbers would round what is beyond 64 bits
    if kind.endswith(_INTEGERS):
        return "INTEGER"
    return "REAL" if kind in ("DOUBLE", "FLOAT") else "TEXT"

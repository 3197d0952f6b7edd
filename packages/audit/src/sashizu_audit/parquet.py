"""Writes Parquet files: what is sealed, sorted so that it is quick to ask."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from sashizu_core.errors import RecordError
from sashizu_core.events import COLUMNS

from sashizu_audit.sources import DETAILS, quoted, read_lines

__all__ = ["BOUNDS", "write_events", "write_sorted"]

BOUNDS = {
    "temp_directory": "''",
    "memory_limit": "'1GB'",
    "threads": "2",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "enable_progress_bar": "false",
}
"""What every connection is held to."""

_COPY = "COPY ({rows}) TO {path} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480)"
_COUNTS = """
SELECT writer_id, count(*) AS events, count(DISTINCT seq) AS numbers
FROM read_parquet({path}) GROUP BY writer_id
"""

WriterCounts = dict[str, int]
"""Events by writer."""


def write_events(rows: str, path: Path) -> int:
    """Write the rows that this SQL gives to a new Parquet file, in no certain order.

    Returns how many. Unsorted: sorting a long record would need room of its own on the disk.

    Raises:
        RecordError: they cannot be read, or the file not be written.
    """
    with _connected(path) as connection:
        found = connection.execute(_COPY.format(rows=rows, path=quoted(str(path)))).fetchone()
        assert found is not None
        return int(found[0])


def write_sorted(lines: Path, path: Path, *, without: Collection[str] = ()) -> WriterCounts:
    """Write the events of a file of lines to a new Parquet file, sorted by kind and by time.

    Most questions are about a few kinds of event, and pass over the parts that hold others.

    `without` are writers that are left out. Returns the events of each writer; a writer with two
    events of one number is not in it.

    Raises:
        RecordError: they cannot be read, or the file not be written.
    """
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    rows = f"SELECT {names}, {DETAILS} FROM ({read_lines([str(lines)])})"  # noqa: S608 - quoted
    if without:
        rows += f" WHERE writer_id NOT IN ({', '.join(map(quoted, without))})"
    rows += " ORDER BY kind, ts_ns, writer_id, seq"
    with _connected(path) as connection:
        connection.execute(_COPY.format(rows=rows, path=quoted(str(path))))
        counted = connection.execute(_COUNTS.format(path=quoted(str(path)))).fetchall()
    return {str(row[0]): int(row[1]) for row in counted if row[1] == row[2]}


@contextmanager
def _connected(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        try:
            for name, value in BOUNDS.items():
                connection.execute(f"SET {name} = {value}")
            yield connection
        except duckdb.Error as error:
            raise RecordError(f"the table {path.name} cannot be written: {error}") from error

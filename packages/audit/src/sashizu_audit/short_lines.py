"""Small segments, read at once: to open a file of lines takes DuckDB longer than to read it.

Who seals, and each process that has just ended, leaves one. A query may read all of them several
times, so they become a table in memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import duckdb
import orjson
from sashizu_core.events import COLUMNS

__all__ = ["take_short"]

_FEWEST = 3
"""The table takes about as long as two segments."""

_SHORT_BYTES = 128 * 1024
_MOST_BYTES = 1024 * 1024
"""Bytes of one such segment, and of all that are taken: as a row an event takes more."""

_TYPES = {
    name: [kind.removesuffix("[]")] if kind.endswith("[]") else kind
    for name, kind in COLUMNS.items()
}
_TABLE = f"""
CREATE TEMP TABLE short_lines AS
SELECT *, CAST(attrs AS VARIANT) AS details FROM (
  SELECT unnest(json_transform(line, '{orjson.dumps(_TYPES).decode()}'))
  FROM (SELECT unnest(CAST($1 AS VARCHAR[])) AS line)
  WHERE json_valid(line) AND json_type(line) = 'OBJECT'
)
WHERE h IS NOT NULL
"""  # noqa: S608 - names and types of ours
_ROWS = "SELECT * FROM short_lines"


def take_short(
    connection: duckdb.DuckDBPyConnection, files: Sequence[str]
) -> tuple[str, tuple[str, ...]]:
    """Make a table of the events of small segments, if there are several.

    Returns the SQL that gives them, empty if there is no table, and the segments that are not in
    it.

    Raises:
        OSError: one cannot be read; FileNotFoundError if it was sealed meanwhile.
        duckdb.Error: the table cannot be made.
    """
    if len(files) < _FEWEST:
        return "", tuple(files)
    found: list[str] = []
    left: list[str] = []
    room = _MOST_BYTES
    for path in files:
        size = os.stat(path).st_size  # noqa: PTH116 - paths are text here
        if size > min(_SHORT_BYTES, room) or path.endswith(".gz"):
            left.append(path)
            continue
        room -= size
        with open(path, "rb") as file:  # noqa: PTH123
            # What was written since is left for the next question, or this one might not end.
            found += _texts(file.read(size))
    connection.execute(_TABLE, [found])
    return _ROWS, tuple(left)


def _texts(data: bytes) -> list[str]:
    """Lines that are text; what a crash left of one need not be."""
    texts = []
    for line in data.split(b"\n"):
        try:
            texts.append(line.decode())
        except UnicodeDecodeError:
            continue
    return texts

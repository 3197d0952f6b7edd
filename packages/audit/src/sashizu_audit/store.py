"""Asks the record with SQL. The only module that knows DuckDB.

There is no database file: each query makes a connection in memory, over the explicit list of the
segments that are there. Segments that are being written are read as they stand.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from sys import getsizeof
from typing import Any

import duckdb
from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.events import COLUMNS

from sashizu_audit.jail import check_query
from sashizu_audit.layout import segment_paths

__all__ = ["DEFAULT_LIMIT", "DEFAULT_TIMEOUT_S", "VIEWS", "AuditStore", "Rows"]

DEFAULT_LIMIT = 10_000
DEFAULT_TIMEOUT_S = 30.0

MOST_BYTES = 64 * 1024**2
"""About how much one query may give; DuckDB's own limit does not count what it has given."""

BATCH_ROWS = 64

VIEWS = (
    "events",
    "runs",
    "agent_executions",
    "agent_tree",
    "model_calls",
    "tool_calls",
    "token_usage",
    "security_events",
    "budget_events",
    "artifacts",
    "writers",
    "seq_gaps",
    "checkpoints",
)
"""Everything that a query can name."""

_SETTINGS = {
    "temp_directory": "''",
    "memory_limit": "'1GB'",
    "threads": "2",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "enable_external_access": "false",
}
"""Set in this order; after that the configuration is locked."""

_NO_EXTENSIONS = tuple(name for name in _SETTINGS if name.startswith(("auto", "allow")))

# A torn or NUL-filled tail comes as a row of NULLs, never as a missing row.
_VIEW = """
CREATE VIEW events AS
SELECT *, make_timestamp_ns(ts_ns) AS ts FROM {source} WHERE h IS NOT NULL
"""

# Unsorted: sorting a long record would need room of its own on the disk.
_COPY = """
COPY (SELECT * EXCLUDE (ts) FROM events)
TO {path} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480)
"""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query gave. `types` are DuckDB's; `truncated` says that there was more."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool

    def dicts(self) -> list[dict[str, Any]]:
        """One mapping per row; of columns with one name, the second is `NAME_2`."""
        names: list[str] = []
        for column in self.columns:
            count = 1
            name = column
            while name in names:
                count += 1
                name = f"{column}_{count}"
            names.append(name)
        return [dict(zip(names, row, strict=True)) for row in self.rows]


class AuditStore:
    """The record in a folder, for reading. It may be written meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def query(
        self,
        sql: str,
        params: Sequence[object] = (),
        *,
        limit: int = DEFAULT_LIMIT,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> Rows:
        """Run one query over the views.

        `limit` is the most rows returned, of `MOST_BYTES` in all; `timeout_s` are the seconds after
        which it is interrupted.
        Blocks; call it from a thread.

        Raises:
            UsageError: it is no query over our views, or wrong SQL, or took too long.
        """
        with self._connection() as connection:
            check_query(sql, lambda text: _serialized(connection, text), VIEWS)
            with _interrupted_after(connection, timeout_s):
                try:
                    result = connection.execute(sql, list(params))
                    described = result.description
                    found, more = _fetched(result, limit)
                except duckdb.InterruptException as error:
                    raise UsageError(
                        f"the query was stopped after {timeout_s:g} s; ask for less, or allow more "
                        "with --timeout"
                    ) from error
                except RuntimeError as error:
                    if "interrupted" in str(error).lower():  # DuckDB's word for Ctrl-C
                        raise KeyboardInterrupt from error
                    raise
                except duckdb.Error as error:
                    raise UsageError(f"the query failed: {_first_lines(error)}") from error
        columns = tuple(str(column[0]) for column in described)
        types = tuple(str(column[1]) for column in described)
        return Rows(columns, types, tuple(found), more)

    def write_parquet(self, path: Path) -> int:
        """Write all events to a new Parquet file, in no certain order; returns how many. Blocks.

        Raises:
            SashizuError: the record cannot be read, or the file not be written.
        """
        segments = [str(segment) for segment in segment_paths(self.folder)]
        with duckdb.connect(":memory:") as connection:
            try:
                for name in ("temp_directory", "memory_limit", "threads", *_NO_EXTENSIONS):
                    connection.execute(f"SET {name} = {_SETTINGS[name]}")
                connection.execute(_events_view(segments))
                found = connection.execute(_COPY.format(path=_text(str(path)))).fetchone()
            except duckdb.Error as error:
                raise SashizuError(f"the record cannot be exported: {error}") from error
        assert found is not None
        return int(found[0])

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A locked connection in memory with all views."""
        segments = [str(path) for path in segment_paths(self.folder)]
        connection = duckdb.connect(":memory:")
        try:
            connection.execute("SET python_enable_replacements = false")
            if segments:
                connection.execute(f"SET allowed_paths = {_list(segments)}")
            for name, value in _SETTINGS.items():
                connection.execute(f"SET {name} = {value}")
            connection.execute(_events_view(segments))
            connection.execute(files("sashizu_audit").joinpath("views.sql").read_text("utf-8"))
            connection.execute("SET lock_configuration = true")
            yield connection
        except duckdb.Error as error:
            raise SashizuError(f"the record in {self.folder} cannot be read: {error}") from error
        finally:
            connection.close()


def _fetched(result: duckdb.DuckDBPyConnection, limit: int) -> tuple[list[tuple[Any, ...]], bool]:
    """At most `limit` rows and `MOST_BYTES`, and whether there was more."""
    rows: list[tuple[Any, ...]] = []
    room = MOST_BYTES
    while len(rows) <= limit and room > 0:
        batch = result.fetchmany(min(BATCH_ROWS, limit + 1 - len(rows)))
        if not batch:
            return rows, False
        rows += batch
        room -= sum(map(_size, batch))
    return rows[:limit], True


def _size(row: Sequence[Any]) -> int:
    """About how many bytes a row takes."""
    return sum(len(cell) if isinstance(cell, str | bytes) else getsizeof(cell) for cell in row)


def _serialized(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    try:
        found = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchone()
    except duckdb.Error as error:
        raise UsageError(f"not understood as SQL: {_first_lines(error)}") from error
    assert found is not None
    return str(found[0])


def _text(value: str) -> str:
    """A string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def _list(values: Sequence[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"


def _events_view(segments: Sequence[str]) -> str:
    columns: Mapping[str, str] = COLUMNS
    if not segments:
        nothing = ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in columns.items())
        source = f"(SELECT {nothing})"
        return _VIEW.format(source=source)
    struct = ", ".join(f"{_text(name)}: {_text(kind)}" for name, kind in columns.items())
    return _VIEW.format(
        source=f"read_json({_list(segments)}, format='newline_delimited', "
        f"columns={{{struct}}}, ignore_errors=true, maximum_object_size=1048576)"
    )


@contextmanager
def _interrupted_after(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _first_lines(error: Exception) -> str:
    """DuckDB's message without the candidates and the drawing of the statement."""
    return str(error).split("\n\n", maxsplit=1)[0].strip()

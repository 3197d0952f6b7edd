"""Asks the record with SQL.

There is no database file: each query makes a connection in memory, over the explicit list of the
files that are there. Segments that are being written are read as they stand.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from sys import getsizeof
from typing import Any
from uuid import UUID

import duckdb
from sashizu_core.errors import RecordError, SashizuError, UsageError

from sashizu_audit.disk import reading
from sashizu_audit.jail import check_query
from sashizu_audit.parquet import BOUNDS, write_events
from sashizu_audit.rows import DEFAULT_LIMIT, DEFAULT_TIMEOUT_S, Rows
from sashizu_audit.short_lines import take_short
from sashizu_audit.sources import Source, events_rows, events_view, find_source, quoted_list

__all__ = ["DEFAULT_LIMIT", "DEFAULT_TIMEOUT_S", "VIEWS", "AuditStore", "Rows", "prepare"]

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

_SETTINGS = {**BOUNDS, "parquet_metadata_cache": "true", "enable_external_access": "false"}
"""Set in this order; after that the configuration is locked."""

_VIEW = re.compile(r"^CREATE VIEW (\w+) AS", re.MULTILINE)

_TRIES = 20
"""How often a query begins anew because a file of it was sealed or dropped meanwhile."""


class AuditStore:
    """The record in a folder, for reading; it may be written and sealed meanwhile.

    `more` are folders of further records, such as those of other machines: then all are read.
    """

    def __init__(self, folder: Path, *more: Path) -> None:
        self.folder = folder
        self.folders = (folder, *more)

    def query(
        self,
        sql: str,
        params: Sequence[object] | Mapping[str, object] = (),
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
        with self._reading():
            for _ in range(_TRIES):
                source = self._source()
                try:
                    return self._query(source, sql, params, limit, timeout_s)
                except _Moved:
                    continue
        raise SashizuError(
            f"the record in {self.folder} changed {_TRIES} times while it was read; try again"
        )

    def columns(self) -> dict[str, list[tuple[str, str]]]:
        """The views with names and types of their columns, as they are without any event."""
        with self._connection(Source((), ())) as connection:
            return {
                view: [
                    (str(row[0]), str(row[1]))
                    for row in connection.execute(f"DESCRIBE {view}").fetchall()
                ]
                for view in VIEWS
            }

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Have who seals leave the files where they are for so long."""
        with ExitStack() as stack:
            for folder in self.folders:
                stack.enter_context(reading(folder / "store.json"))
            yield

    def _source(self) -> Source:
        try:
            return find_source(self.folders)
        except OSError as error:
            raise self._unreadable(error) from error

    def _query(
        self,
        source: Source,
        sql: str,
        params: Sequence[object] | Mapping[str, object],
        limit: int,
        timeout_s: float,
    ) -> Rows:
        with self._connection(source, sql) as connection:
            check_query(sql, lambda text: _serialized(connection, text), VIEWS)
            with _interrupted_after(connection, timeout_s):
                try:
                    values = dict(params) if isinstance(params, Mapping) else list(params)
                    result = connection.execute(sql, values)
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
                    if _moved(source):
                        raise _Moved from error
                    raise UsageError(f"the query failed: {_first_lines(error)}") from error
        columns = tuple(str(column[0]) for column in described)
        types = tuple(str(column[1]) for column in described)
        return Rows(columns, types, tuple(found), more)

    def write_parquet(self, path: Path) -> int:
        """Write all events to a new Parquet file, in no certain order; returns how many. Blocks.

        Raises:
            SashizuError: the record cannot be read, or the file not be written.
        """
        return self._written(lambda source: write_events(events_rows(source), path))

    def write_snapshot(self, path: Path, run_id: str | None = None) -> int:
        """Write all events, or those of a run, and the views to a new DuckDB file. Blocks.

        Returns how many events.

        Raises:
            SashizuError: the record cannot be read, or the file not be written.
        """
        from sashizu_audit.snapshot import write_snapshot

        def write(source: Source) -> int:
            path.unlink(missing_ok=True)
            return write_snapshot(source, path, run_id)

        return self._written(write)

    def _written(self, write: Callable[[Source], int]) -> int:
        with self._reading():
            for _ in range(_TRIES):
                source = self._source()
                try:
                    return write(source)
                except RecordError:
                    if not _moved(source):
                        raise
        raise SashizuError(f"the record in {self.folder} kept changing; try again")

    def _unreadable(self, error: Exception) -> SashizuError:
        return SashizuError(f"the record in {self.folder} cannot be read: {error}")

    @contextmanager
    def _connection(
        self, source: Source, sql: str | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A locked connection in memory with the views that a query may name; else with all.

        To make a view, DuckDB reads the footers of all tables: for a large record that takes longer
        than most queries.
        """
        connection = duckdb.connect(":memory:")
        try:
            connection.execute("SET python_enable_replacements = false")
            if source.paths:
                connection.execute(f"SET allowed_paths = {quoted_list(source.paths)}")
            for name, value in _SETTINGS.items():
                connection.execute(f"SET {name} = {value}")
            short, long = take_short(connection, source.lines)
            connection.execute(events_view(replace(source, lines=long), short))
            for view in _views() if sql is None else _named(sql):
                connection.execute(_views()[view])
            connection.execute("SET lock_configuration = true")
            yield connection
        except (duckdb.Error, OSError) as error:
            if _moved(source):
                raise _Moved from error
            raise self._unreadable(error) from error
        finally:
            connection.close()


@cache
def _views() -> Mapping[str, str]:
    """The statements that make the views, by name, each after those that it reads."""
    text = files("sashizu_audit").joinpath("views.sql").read_text("utf-8")
    starts = [*_VIEW.finditer(text)]
    ends = [*(start.start() for start in starts[1:]), len(text)]
    return {start[1]: text[start.start() : end] for start, end in zip(starts, ends, strict=True)}


def _named(sql: str) -> Sequence[str]:
    """The views whose names stand in a query, and those that these read; at times one too many."""
    text = sql.lower()
    found: list[str] = []
    for name, statement in reversed([*_views().items()]):
        if re.search(rf"\b{name}\b", text):
            found.append(name)
            text += statement
    return found[::-1]


_EVERY_TYPE = """
SELECT uuid(), 1.5::DECIMAL(9, 2), now()::TIMESTAMP, current_date, TIME '01:00', INTERVAL 1 DAY,
       'x'::BLOB, [1], {'a': 1}, MAP {'a': 1}, 1::HUGEINT, '[1]'::JSON, 1::VARIANT
"""


def prepare() -> None:
    """Load all that asking needs of the disk beside the record, once and for all.

    Raises:
        RuntimeError: DuckDB gives values of other types than this version of ours knows.
    """
    _views()
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        row = connection.execute(_EVERY_TYPE).fetchone()
    kinds = (UUID, Decimal, datetime, date, time, timedelta, bytes, list, dict, dict, int, str, int)
    if row is None or not all(map(isinstance, row, kinds)):
        raise RuntimeError(f"DuckDB {duckdb.__version__} gives other types than expected: {row}")


class _Moved(Exception):
    """A file was sealed or dropped after it was listed."""


def _moved(source: Source) -> bool:
    return not all(map(os.path.exists, source.paths))


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
    if "'pytz'" in str(error):  # which no package of ours brings: time zones are a matter of taste
        return "a TIMESTAMP WITH TIME ZONE has no form here; write value::TIMESTAMP"
    return str(error).split("\n\n", maxsplit=1)[0].strip()

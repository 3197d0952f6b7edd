"""Writes one DuckDB file with the events of a record, or of one run, and the views over them.

It is what all copies for other programs are made from: a record goes on while it is copied, and
all tables of a copy should tell of one moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import duckdb
from sashizu_core.errors import RecordError

from sashizu_audit.parquet import BOUNDS
from sashizu_audit.sources import Source, events_rows, quoted

__all__ = ["OF_WHOLE_RECORD", "open_snapshot", "write_snapshot"]

OF_WHOLE_RECORD = ("writers", "seq_gaps", "checkpoints")
"""Views that say nothing true of a part of the record, so that a copy of one run lacks them."""

_STORAGE = "v1.5.0"
"""The oldest form of file that holds all our types; DuckDB 1.5 and all later ones read it."""

_EVENTS = """
CREATE TABLE events AS
SELECT *, make_timestamp_ns(ts_ns) AS ts FROM ({rows}) WHERE {wanted}
"""


def write_snapshot(source: Source, path: Path, run_id: str | None) -> int:
    """Write the events of these files to the new file `path`, in no certain order.

    Returns how many. Blocks. What does not fit into memory goes to the folder of `path`; sorting a
    long record would not fit there either.

    Raises:
        RecordError: they cannot be read, or the file not be written.
    """
    wanted = f"run_id = {quoted(run_id)}" if run_id is not None else "true"
    with open_snapshot(path) as connection:
        connection.execute(_EVENTS.format(rows=events_rows(source), wanted=wanted))
        connection.execute("CREATE TABLE pruned (writer_id VARCHAR, events BIGINT)")
        if source.pruned:
            connection.executemany("INSERT INTO pruned VALUES (?, ?)", [*source.pruned.items()])
        connection.execute(files("sashizu_audit").joinpath("views.sql").read_text("utf-8"))
        if run_id is not None:
            for view in OF_WHOLE_RECORD:
                connection.execute(f"DROP VIEW {view}")
            connection.execute("DROP TABLE pruned")
        connection.execute("CHECKPOINT")
        found = connection.execute("SELECT count(*) FROM events").fetchone()
    assert found is not None
    return int(found[0])


@contextmanager
def open_snapshot(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to a snapshot, a new one where there is none; nothing else can be read by it.

    Raises:
        RecordError: within, what DuckDB finds wrong.
    """
    try:
        with duckdb.connect(
            str(path), config={"storage_compatibility_version": _STORAGE}
        ) as connection:
            for name, value in BOUNDS.items():
                connection.execute(f"SET {name} = {value}")
            connection.execute("SET preserve_insertion_order = false")
            connection.execute(f"SET temp_directory = {quoted(str(path.with_suffix('.tmp')))}")
            yield connection
    except duckdb.Error as error:
        raise RecordError(f"the copy {path.name} cannot be written: {error}") from error
    except RuntimeError as error:
        if "interrupted" in str(error).lower():  # DuckDB's word for Ctrl-C
            raise KeyboardInterrupt from error
        raise

"""Where the rows of `events` come from: Parquet files of what is sealed, lines of everything else.

The files are named one by one, never by a pattern, so that a segment which is sealed meanwhile is
neither counted twice nor missed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import orjson
from sashizu_core.errors import UsageError
from sashizu_core.events import COLUMNS

from sashizu_audit.manifest import read_manifest
from sashizu_audit.segments import find_segments

__all__ = [
    "COLUMNS_DIGEST",
    "DETAILS",
    "Source",
    "all_different",
    "events_rows",
    "events_view",
    "find_source",
    "quoted",
    "quoted_list",
    "read_lines",
]

# A torn or NUL-filled tail comes as a row of NULLs, never as a missing row.
_LINES = """
SELECT * FROM read_json({files}, format='newline_delimited', columns={{{columns}}},
                        ignore_errors=true, maximum_object_size=1048576)
WHERE h IS NOT NULL
"""
_VIEWS = """
CREATE VIEW pruned AS FROM (VALUES {pruned}) AS p(writer_id, events);
CREATE VIEW events AS SELECT *, make_timestamp_ns(ts_ns) AS ts FROM ({rows})
"""
_TABLES = "SELECT {columns} FROM read_parquet({files})"
# What was sealed by an earlier version lacks the columns that came later. To find out, DuckDB reads
# the end of every file before a query begins.
_OLDER_TABLES = """
SELECT {columns} FROM (
  FROM read_parquet({files}, union_by_name=true) UNION ALL BY NAME SELECT {nothing} WHERE false
)
"""

_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)

COLUMNS_DIGEST = sha256(orjson.dumps([*COLUMNS.items()])).hexdigest()[:16]
"""Tells the columns of a table, and their types, from those of other versions."""

DETAILS = "CAST(attrs AS VARIANT) AS details"
"""The SQL of `attrs` as a value instead of a text: its members are found without reading it all."""


@dataclass(frozen=True, slots=True)
class Source:
    """Absolute paths: Parquet files, and segments that are in none of them.

    `tables` have the columns of this version, `older_tables` perhaps others, and `plain_tables` no
    `details`.
    `pruned` has for each writer of whom something is left how many events of it were dropped.
    """

    tables: tuple[str, ...]
    lines: tuple[str, ...]
    pruned: Mapping[str, int] = field(default_factory=dict)
    older_tables: tuple[str, ...] = ()
    plain_tables: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        return self.tables + self.older_tables + self.plain_tables + self.lines


def find_source(folders: Sequence[Path]) -> Source:
    """What there is to read now in these records, each of which has to be another one.

    A file of it may be gone before it is read: then it was sealed or dropped, and asking again
    gives what took its place.

    Raises:
        UsageError: two folders hold the same record, so everything would count twice.
        OSError: a record cannot be looked at.
    """
    all_different(folders)
    tables: list[str] = []
    older: list[str] = []
    plain: list[str] = []
    lines: list[str] = []
    pruned: dict[str, int] = {}
    for folder in folders:
        # In this order: a segment that is sealed after the manifest was read is still listed.
        manifest = read_manifest(folder)
        there = {table.path for table in manifest.tables if (folder / table.path).exists()}
        covered = {sealed.key for sealed in manifest.segments if sealed.table in there}
        for table in sorted(manifest.tables, key=lambda table: table.path):
            if table.path in there:
                current = tables if table.columns == COLUMNS_DIGEST else older
                (current if table.details else plain).append(str(folder / table.path))
        lines += [str(file.path) for file in find_segments(folder) if file.key not in covered]
        pruned |= manifest.pruned
    return Source(tuple(tables), tuple(lines), pruned, tuple(older), tuple(plain))


def all_different(folders: Sequence[Path]) -> None:
    """Be sure that no record is named twice.

    Raises:
        UsageError: two folders hold the same record.
    """
    seen: dict[str, Path] = {}
    if len(folders) < 2:
        return
    for folder in folders:
        try:
            store_id = str(orjson.loads((folder / "store.json").read_bytes())["store_id"])
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
            continue
        if store_id in seen:
            raise UsageError(
                f"{str(seen[store_id])!r} and {str(folder)!r} hold the same record: everything "
                "would count twice. Name each record once"
            )
        seen[store_id] = folder


def events_rows(source: Source, *, details: bool = False, more: str = "") -> str:
    """The SQL that gives the columns of all events in these files; with `details`, that too.

    `more` is SQL that gives the same columns of further events.
    """
    columns = ", ".join(f'"{name}"' for name in [*COLUMNS, *(["details"] if details else [])])
    parts = [more] if more else []
    if source.tables:
        parts.append(_TABLES.format(columns=columns, files=quoted_list(source.tables)))
    if source.older_tables:
        parts.append(_older_tables(source.older_tables, columns))
    if source.plain_tables:
        parts.append(_with_details(_older_tables(source.plain_tables, _NAMES), details))
    if source.lines:
        parts.append(_with_details(read_lines(source.lines), details))
    if not parts:
        parts.append(_with_details(f"SELECT {_nothing()} WHERE false", details))
    return " UNION ALL BY NAME ".join(parts)


def _older_tables(files: Sequence[str], columns: str) -> str:
    return _OLDER_TABLES.format(columns=columns, files=quoted_list(files), nothing=_nothing())


def _with_details(rows: str, details: bool) -> str:
    return f"SELECT *, {DETAILS} FROM ({rows})" if details else rows  # noqa: S608 - our SQL


def _nothing() -> str:
    return ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in COLUMNS.items())


def events_view(source: Source, more: str = "") -> str:
    """The SQL that makes the view `events` over these files and `more`, and `pruned`."""
    pruned = ", ".join(f"({quoted(name)}, {count})" for name, count in source.pruned.items())
    return _VIEWS.format(
        rows=events_rows(source, details=True, more=more), pruned=pruned or "(NULL, 0)"
    )


def read_lines(files: Iterable[str]) -> str:
    """The SQL that reads the events of segments."""
    columns: Mapping[str, str] = COLUMNS
    struct = ", ".join(f"{quoted(name)}: {quoted(kind)}" for name, kind in columns.items())
    return _LINES.format(files=quoted_list(files), columns=struct)


def quoted(value: str) -> str:
    """A string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def quoted_list(values: Iterable[str]) -> str:
    """A list of string literals of SQL."""
    return "[" + ", ".join(map(quoted, values)) + "]"

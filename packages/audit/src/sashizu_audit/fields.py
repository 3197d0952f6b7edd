"""The columns of an event as JSON bytes: checked, complete, and never longer than a line may be."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sashizu_core.errors import RecordError, nearest
from sashizu_core.events import COLUMNS

__all__ = ["CUT", "FIELDS_LIMIT", "LINE_LIMIT", "encode_fields"]

LINE_LIMIT = 64 * 1024
"""Bytes of a line, newline included."""

FIELDS_LIMIT = LINE_LIMIT - 1024
"""Bytes of the columns of an event; the rest of the line is what the writer adds."""

CUT = "_cut"
"""The member of `attrs` that says what was cut: name to bytes before, as JSON."""

_ADDED_BY_WRITER = ("v", "event_id", "ts_ns", "mono_ns", "writer_id", "seq", "kind", "h")
_VALUE_LIMIT = 1024  # bytes of one value of a line that would be too long
_ATTRS_LIMIT = 12 * 1024  # bytes of `attrs` of such a line
_MOST_MARKS = 64  # names that are told apart when they are cut
_LONGEST_NAME = 64  # bytes of such a name, as JSON
_DEEPEST = 64
_MOST_SHAPES = 1024
_MOST_IDS = 4096


def _python_type(duckdb_type: str) -> type:
    if duckdb_type == "JSON":
        return dict
    if duckdb_type.endswith("[]"):
        return list
    return int if duckdb_type.endswith("INT") or duckdb_type == "UINTEGER" else str


_TYPES: Mapping[str, type] = {
    column: _python_type(duckdb_type)
    for column, duckdb_type in COLUMNS.items()
    if column not in _ADDED_BY_WRITER
}
_IDS = ("run_id", "agent_id", "parent_agent_id")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# Events repeat a few shapes: columns and types that were found right once need no second look.
_good_shapes: dict[tuple[str, ...], list[type]] = {}
_good_ids: set[tuple[object, ...]] = set()


def encode_fields(fields: Mapping[str, object]) -> bytes:
    r"""JSON members without the braces around them: `"run_id":"…","step":1`.

    None is left out. Text that is no Unicode keeps its odd parts as `\udcXX`. Columns that would
    make the line too long are cut, and `attrs._cut` says what and how long it was.

    Raises:
        RecordError: a column is unknown, is the writer's own, or has a value of the wrong type.
    """
    get = fields.get
    if (
        _good_shapes.get(tuple(fields)) == [*map(type, fields.values())]
        and (get("run_id"), get("agent_id"), get("parent_agent_id")) in _good_ids
    ):
        try:
            data = orjson.dumps(fields)
        except TypeError:
            pass  # what JSON cannot hold as it is, the careful way finds
        else:
            if len(data) <= FIELDS_LIMIT:
                return data[1:-1]
    return _encode_carefully(fields)


def _encode_carefully(fields: Mapping[str, object]) -> bytes:
    clean = {
        column: _checked(column, value) for column, value in fields.items() if value is not None
    }
    _check_ids(clean)
    if all(type(fields[column]) is type(value) for column, value in clean.items()):
        if len(_good_shapes) >= _MOST_SHAPES:
            _good_shapes.clear()
        if len(clean) == len(fields):
            _good_shapes[tuple(fields)] = [*map(type, fields.values())]
    data = orjson.dumps(clean)
    if len(data) > FIELDS_LIMIT:
        data = orjson.dumps(_cut(clean))
    return data[1:-1]


# --- values ---------------------------------------------------------------------------------------


def _checked(column: str, value: object) -> Any:
    expected = _TYPES.get(column)
    if expected is None:
        raise RecordError(_unknown(column))
    if expected is str and isinstance(value, str):
        return _text(value)
    if expected is int and isinstance(value, int) and not isinstance(value, bool):
        if not -(2**63) <= value < 2**63:
            raise RecordError(f"the column {column!r} cannot hold {value}: beyond 64 bits")
        return int(value)
    if expected is list and isinstance(value, Sequence) and not isinstance(value, str):
        return [_checked_item(column, item) for item in value]
    if expected is dict and isinstance(value, Mapping):
        return _json(value, 0)
    raise RecordError(f"the column {column!r} takes {COLUMNS[column]}, not {type(value).__name__}")


def _checked_item(column: str, item: object) -> str:
    if isinstance(item, str):
        return _text(item)
    raise RecordError(f"the column {column!r} takes text, not {type(item).__name__}")


def _unknown(column: str) -> str:
    if column in _ADDED_BY_WRITER:
        return f"the column {column!r} is set by the writer, not by who records an event"
    return f"unknown column {column!r}{nearest(column, _TYPES)}; put it into attrs"


def _check_ids(clean: Mapping[str, Any]) -> None:
    ids = tuple(map(clean.get, _IDS))
    if ids in _good_ids:
        return
    for column, value in zip(_IDS, ids, strict=True):
        if value is not None and not _UUID.fullmatch(value):
            raise RecordError(f"the column {column!r} takes a UUID, not {value[:64]!r}")
    if len(_good_ids) >= _MOST_IDS:
        _good_ids.clear()
    _good_ids.add(ids)


def _text(value: str) -> str:
    # Names of files may hold bytes that are no text; Python carries them as lone surrogates.
    return str.__str__(value).encode("utf-8", "backslashreplace").decode()


def _json(value: object, depth: int) -> Any:
    if depth > _DEEPEST:
        raise RecordError(f"attrs are nested deeper than {_DEEPEST} levels")
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, Mapping):
        return {_text(str(key)): _json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_json(item, depth + 1) for item in value]
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:
        raise RecordError(f"attrs hold a {type(value).__name__}, which is no JSON value") from None


# --- lines that would be too long -----------------------------------------------------------------


def _cut(fields: Mapping[str, Any]) -> dict[str, Any]:
    marks: dict[str, int] = {}
    kept: dict[str, Any] = {}
    for column, value in fields.items():
        if column == "attrs":
            continue
        kept[column], before = _beginning(value)
        if before:
            marks[column] = before
    kept["attrs"] = _cut_attrs(fields.get("attrs", {}), marks)
    return kept


def _cut_attrs(attrs: Mapping[str, Any], marks: dict[str, int]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    room = _ATTRS_LIMIT
    for name, value in attrs.items():
        short, before = _beginning(value)
        size = len(orjson.dumps({name: short}))
        nameable = len(orjson.dumps(name)) <= _LONGEST_NAME
        if short is not None and nameable and size <= room:
            kept[name] = short
            room -= size
        else:
            before = before or size
        if before:
            told = nameable and len(marks) < _MOST_MARKS
            mark = f"attrs.{name}" if told else "attrs.*"
            marks[mark] = marks.get(mark, 0) + before
    return {**kept, CUT: marks}


def _beginning(value: Any) -> tuple[Any, int]:
    """The value as far as it fits, and its JSON bytes before if it was cut; else 0.

    Of text and lists the beginning is kept, of anything else nothing (None).
    """
    before = len(orjson.dumps(value))
    if before <= _VALUE_LIMIT:
        return value, 0
    if not isinstance(value, str | list):
        return None, before
    short = value[:_VALUE_LIMIT]
    while len(orjson.dumps(short)) > _VALUE_LIMIT:
        short = short[: len(short) * 3 // 4]
    return short, before

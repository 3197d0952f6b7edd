"""Rows as text: an aligned table, JSON, CSV or Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from sashizu_audit.rows import Rows

__all__ = ["Format", "as_text"]

Format = Literal["table", "json", "csv", "md"]

MAX_CELL = 60
"""Characters of one cell of a table; the rest is cut and marked."""


def as_text(rows: Rows, fmt: Format, *, width: int | None = None) -> str:
    """What a query gave, without a final newline.

    A table that is wider than `width` characters is turned: each row becomes lines of its own.
    """
    match fmt:
        case "json":
            plain = [{k: _finite(v) for k, v in row.items()} for row in rows.dicts()]
            return json.dumps(plain, default=str, ensure_ascii=False, indent=1)
        case "csv":
            return _csv(rows)
        case "md":
            return _markdown(rows)
        case "table":
            return _table(rows, width)


def _finite(value: Any) -> Any:
    """JSON has no word for what is no number, or endless."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _printable(text: str) -> str:
    """Text without what would steer a terminal: names of files and agents come from outside."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    if isinstance(value, dict | list):
        return _printable(json.dumps(value, default=str, ensure_ascii=False))
    return _printable(str(value))


def _csv(rows: Rows) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.columns)
    writer.writerows([[_csv_cell(value) for value in row] for row in rows.rows])
    return text.getvalue().rstrip("\n")


def _csv_cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, default=str, ensure_ascii=False)
    return value


def _markdown(rows: Rows) -> str:
    lines = [list(rows.columns), ["---"] * len(rows.columns)]
    lines += [[_cell(value).replace("|", "\\|") for value in row] for row in rows.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cut(text: str, most: int = MAX_CELL) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _table(rows: Rows, width: int | None) -> str:
    numeric = [_is_numeric(rows.types[i]) for i in range(len(rows.columns))]
    cells: list[Sequence[str]] = [[_cut(_cell(value)) for value in row] for row in rows.rows]
    widths = [max(map(len, column)) for column in zip(rows.columns, *cells, strict=True)]
    if width is not None and sum(widths) + 2 * (len(widths) - 1) > width:
        return "\n".join([*_turned(rows, width), _count(rows)])
    lines = [
        _line(rows.columns, widths, numeric),
        _line(["-" * w for w in widths], widths, numeric),
    ]
    lines += [_line(row, widths, numeric) for row in cells]
    return "\n".join([*lines, _count(rows)])


def _count(rows: Rows) -> str:
    many = "" if len(rows.rows) == 1 else "s"
    more = "; there are more, allow them with --limit" if rows.truncated else ""
    return f"({len(rows.rows)} row{many}{more})"


def _turned(rows: Rows, width: int) -> Iterator[str]:
    """Each row as lines of a name and a value, cut at `width`; what has no value is left out."""
    names = [_printable(name) for name in rows.columns]
    wide = min(max(map(len, names)), width // 2)
    for number, row in enumerate(rows.rows, 1):
        yield f"-- {number} ".ljust(width, "-")[:width]
        for name, value in zip(names, row, strict=True):
            if value is not None:
                line = f"{_cut(name, wide):<{wide}}  {_cell(value)}"
                yield _cut(line, width).rstrip()


def _is_numeric(duckdb_type: str) -> bool:
    return "INT" in duckdb_type or duckdb_type.startswith(("DOUBLE", "FLOAT", "DECIMAL"))


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    padded = [
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return "  ".join(padded).rstrip()

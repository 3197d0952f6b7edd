"""What a query gives; known without DuckDB."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["DEFAULT_LIMIT", "DEFAULT_TIMEOUT_S", "Rows"]

DEFAULT_LIMIT = 10_000
DEFAULT_TIMEOUT_S = 30.0


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

"""What can stand where the cursor is: views, columns, words of SQL, canned queries, commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["COMMANDS", "FORMATS", "HISTORY", "Vocabulary"]

HISTORY = "sql_history"
"""The file in the state folder that keeps what was typed."""

COMMANDS: Mapping[str, str] = {
    r"\d": "list the views; with the name of one, its columns",
    r"\l": "list the queries that are asked often",
    r"\r": "run one of them: \\r NAME [PARAMETER=VALUE...]",
    r"\f": "print rows as table, json, csv or md",
    r"\?": "this list",
    r"\q": "leave; so does Ctrl-D",
}

FORMATS = ("table", "json", "csv", "md")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_KEYWORDS = _words(
    "ALL AND AS ASC BETWEEN BY CASE CAST DESC DESCRIBE DISTINCT ELSE END EXCEPT EXCLUDE EXISTS "
    "FALSE FILTER FROM FULL GROUP HAVING ILIKE IN INNER INTERSECT INTERVAL IS JOIN LATERAL LEFT "
    "LIKE LIMIT NOT NULL OFFSET ON OR ORDER OUTER OVER PARTITION PIVOT QUALIFY RECURSIVE REPLACE "
    "RIGHT ROWS SELECT SHOW SUMMARIZE TABLES THEN TRUE UNION UNNEST USING VALUES WHEN WHERE WINDOW "
    "WITH"
)
_FUNCTIONS = _words(
    "arg_max arg_min avg coalesce count date_trunc first last list max median min quantile_cont "
    "regexp_matches round row_number starts_with strftime sum time_bucket"
)
_WORD = re.compile(r"[\w.\\]*\Z")
_NAMED = re.compile(
    r"\b(?:from|join)\s+(\w+)(?:\s+(?:as\s+)?(\w+))?|,\s*(\w+)(?:\s+(\w+))?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`views` are names of views with those of their columns, `canned` names of queries."""

    views: Mapping[str, Sequence[str]]
    canned: Sequence[str] = ()
    _all_columns: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        every = dict.fromkeys(column for columns in self.views.values() for column in columns)
        object.__setattr__(self, "_all_columns", tuple(every))

    def offers(self, before: str, after: str = "") -> tuple[str, list[str]]:
        """The word that ends where the cursor is, and what may stand in its place, best first.

        `before` and `after` are the text on both sides of the cursor.
        """
        match = _WORD.search(before)
        word = match[0] if match else ""
        head = before[: len(before) - len(word)]
        if before.lstrip().startswith("\\"):
            return word, _beginning(word, self._for_command(head.split()))
        view, dot, part = word.rpartition(".")
        named = self._named(before + after)
        if dot:
            return part, _beginning(part, named.get(view.lower(), ()))
        return word, _beginning(word, self._for_statement(head, named))

    def _for_command(self, words: Sequence[str]) -> Iterable[str]:
        if not words:
            return COMMANDS
        if len(words) > 1:
            return ()
        return {r"\d": self.views, r"\r": self.canned, r"\f": FORMATS}.get(words[0], ())

    def _for_statement(self, head: str, named: Mapping[str, Sequence[str]]) -> Iterable[str]:
        previous = head.split()[-1:] or [""]
        if previous[0].lower() in ("from", "join", "describe", "summarize", "table"):
            return self.views
        columns = [column for columns in named.values() for column in columns]
        known = dict.fromkeys(columns or self._all_columns)
        return [*known, *self.views, *_KEYWORDS, *_FUNCTIONS]

    def _named(self, text: str) -> Mapping[str, Sequence[str]]:
        """The columns of the views that a statement names, by name and by alias."""
        found: dict[str, Sequence[str]] = {}
        for first, alias, second, other in _NAMED.findall(text):
            name = (first or second).lower()
            if name in self.views:
                for known in (name, alias or other):
                    if known and known.upper() not in _KEYWORDS:
                        found[known.lower()] = self.views[name]
        return found


def _beginning(word: str, names: Iterable[str]) -> list[str]:
    """Those that begin so; words of SQL as they are typed, small or large."""
    small = word.islower() or not word
    found = [name for name in names if name.lower().startswith(word.lower())]
    return [name.lower() if name in _KEYWORDS and small else name for name in found]

"""What SQL may be: exactly one statement that reads our views, and nothing that it cannot name.

The first layer of three. The second is a connection that reaches no file but the record's and whose
configuration is locked, with a clock and a cap on rows: the store's. The third is a process that
can read the record and do nothing else: `sashizu_audit.jailed_store`.

DuckDB's own parser gives the tree. Every query node, table reference and table function has to be
on a list; a `COPY` hidden in a `WITH` is a query node that is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from sashizu_core.errors import UsageError, nearest

__all__ = ["check_query"]

_QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
_TABLE_REFS = frozenset(
    {"BASE_TABLE", "SUBQUERY", "JOIN", "EMPTY", "EMPTY_FROM", "EXPRESSION_LIST", "TABLE_FUNCTION"}
    | {"SHOW_REF", "COLUMN_DATA", "PIVOT"}
)
_MODIFIERS = frozenset(
    {"ORDER_MODIFIER", "LIMIT_MODIFIER", "DISTINCT_MODIFIER", "LIMIT_PERCENT_MODIFIER"}
)
_EXPRESSION_CLASSES = frozenset(
    {"CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "DEFAULT", "FUNCTION"}
    | {"LAMBDA", "LAMBDA_REF", "OPERATOR", "PARAMETER", "POSITIONAL_REFERENCE", "STAR", "SUBQUERY"}
    | {"BETWEEN", "COLLATE", "TYPE", "WINDOW"}
)
_TABLE_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "unnest"})
_REFUSED_FUNCTIONS = frozenset(
    {"current_setting", "getenv", "getvariable", "nextval", "set_config", "txid_current"}
    | {"query", "query_table", "json_execute_serialized_sql", "json_serialize_plan", "write_log"}
    | {"in_search_path", "sniff_csv"}
)
_CATALOGUE = ("duckdb_", "information_schema", "pg_", "pragma_", "sqlite_")
"""Beginnings of the names of DuckDB's own views."""

_REFUSED_PREFIXES = ("read_", "pragma_", "duckdb_", "parquet_", "force_", "checkpoint", "glob")


def check_query(sql: str, serialize: Callable[[str], str], tables: Collection[str]) -> None:
    """Refuse what is not one query over `tables`.

    `serialize` is DuckDB's `json_serialize_sql`.

    Raises:
        UsageError: it is something else, or no SQL; says what.
    """
    tree = json.loads(serialize(sql))
    if tree.get("error"):
        raise UsageError(_not_sql(str(tree.get("error_message", "not understood"))))
    statements = tree["statements"]
    if len(statements) != 1:
        raise UsageError(f"one statement at a time: found {len(statements)}")
    node = statements[0]["node"]
    named = {name.lower() for name in _with_names(node)}
    for name in sorted(named):
        if name.startswith(_CATALOGUE):  # else the name would lead to DuckDB's own, further out
            raise UsageError(f"not allowed in a query of the record: WITH {name}")
    known = {name.lower() for name in tables} | named
    _check(node, known, tables)


def _not_sql(message: str) -> str:
    if "Only SELECT" in message:
        return "only SELECT is allowed: the record is asked, never changed"
    return f"not understood as SQL: {message}"


def _with_names(node: Any) -> Iterator[str]:
    """The names that `WITH` gives, anywhere."""
    for found in _walk(node):
        cte_map = found.get("cte_map")
        if isinstance(cte_map, Mapping):
            for entry in cte_map.get("map", ()):
                yield str(entry.get("key", ""))
        if found.get("type") in ("RECURSIVE_CTE_NODE", "CTE_NODE"):
            yield str(found.get("cte_name", ""))


def _walk(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every object of a tree."""
    todo = [node]
    while todo:
        found = todo.pop()
        if isinstance(found, Mapping):
            yield found
            todo.extend(found.values())
        elif isinstance(found, list):
            todo.extend(found)


def _check(node: Any, known: Collection[str], tables: Collection[str]) -> None:
    for found in _walk(node):
        kind = found.get("type")
        if not isinstance(kind, str):
            continue
        if "class" in found:
            _check_expression(found)
        elif kind.endswith("_NODE"):
            _check_listed(kind, _QUERY_NODES)
        elif kind.endswith("_MODIFIER"):
            _check_listed(kind, _MODIFIERS)
        elif "ref_type" in found or "sample" in found:
            _check_reference(found, known, tables)


def _check_listed(kind: str, allowed: Collection[str]) -> None:
    if kind not in allowed:
        raise UsageError(f"not allowed in a query of the record: {kind.lower()}")


def _check_expression(found: Mapping[str, Any]) -> None:
    _check_listed(str(found["class"]), _EXPRESSION_CLASSES)
    if found["class"] != "FUNCTION":
        return
    name = str(found.get("function_name", "")).lower()
    if name in _REFUSED_FUNCTIONS or name.startswith(_REFUSED_PREFIXES):
        raise UsageError(f"the function {name!r} is not allowed in a query of the record")


def _path(found: Mapping[str, Any]) -> list[str]:
    """Catalogue, schema and name of a table, as far as they were given."""
    if "qualified_name" in found:
        parts = found["qualified_name"]["path"]
    else:  # DuckDB 1.5
        parts = [found["catalog_name"], found["schema_name"], found["table_name"]]
    return [str(part) for part in parts if part]


def _check_reference(
    found: Mapping[str, Any], known: Collection[str], tables: Collection[str]
) -> None:
    kind = str(found["type"])
    _check_listed(kind, _TABLE_REFS)
    if kind == "BASE_TABLE":
        path = _path(found)
        name = str(found["table_name"])
        if len(path) > 2 or (len(path) == 2 and path[0] != "main") or name.lower() not in known:
            raise UsageError(
                f"there is no view {'.'.join(path)!r}{nearest(name, tables)}; "
                f"there are: {', '.join(sorted(tables))}"
            )
    if kind == "TABLE_FUNCTION":
        name = str(found["function"].get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise UsageError(f"the table function {name!r} is not allowed in a query of the record")

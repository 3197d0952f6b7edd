"""The layers that settings are made of, and how one is laid over the other."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sashizu_core.documents import Document, KeyPath, Place, dotted, read_text
from sashizu_core.errors import ConfigError, UsageError, nearest
from sashizu_core.limits import parse_duration
from sashizu_core.settings_tables import TYPED, Origin
from sashizu_core.toml_text import read_toml

__all__ = ["PROJECT_KEYS", "merged_layers"]

LARGEST_FILE = 1024 * 1024
"""Bytes of a settings file that are read."""

Layer = dict[KeyPath, tuple[Any, Origin]]
"""Every value of one source, under the keys it stands under."""


# What is no count or no duration passes here, so that validation can say what is wrong with it.


def _narrower_count(mine: Any, theirs: Any) -> bool:
    return not isinstance(theirs, int) or not isinstance(mine, int) or theirs < mine


def _narrower_duration(mine: Any, theirs: Any) -> bool:
    try:
        return mine is None or parse_duration(theirs) < parse_duration(mine)
    except (UsageError, TypeError, AttributeError):
        return True


PROJECT_KEYS: Mapping[KeyPath, Callable[[Any, Any], bool]] = {
    ("run", "jobs"): _narrower_count,
    ("run", "max_turns"): _narrower_count,
    ("run", "max_output_tokens"): _narrower_count,
    ("run", "deadline"): _narrower_duration,
    ("run", "agent_deadline"): _narrower_duration,
    ("run", "budget"): lambda _mine, _theirs: True,
    ("spawn", "depth"): _narrower_count,
    ("spawn", "agents"): _narrower_count,
    ("spawn", "alive"): _narrower_count,
    ("spawn", "rate"): _narrower_count,
}
"""What a project may set, each with the test whether a value narrows the operator's.

A repository comes from somebody else. None of these can send anything anywhere, choose who is
billed, switch anything off or start a program; and none can allow more than the operator does.
"""


def merged_layers(
    *,
    user: Path,
    project: Path,
    env: Mapping[str, str],
    overrides: Sequence[str],
    known_tables: Collection[str],
) -> tuple[dict[str, dict[str, Any]], dict[KeyPath, Origin], list[str]]:
    """Lay all layers over each other: tables, the origin of every value, warnings.

    Raises:
        ConfigError: a layer is broken, or sets what it may not.
    """
    merged = _file_layer(user, "user", known_tables)
    warnings = _narrow(merged, _project_layer(project, user, known_tables))
    _lay_over(merged, _environment_layer(env))
    for override in overrides:
        _lay_over(merged, _flag_layer(override, known_tables))
    tables: dict[str, dict[str, Any]] = {}
    for path, (value, _) in merged.items():
        table: dict[Any, Any] = tables
        for key in path[:-1]:
            table = table.setdefault(key, {})
        table[path[-1]] = value
    return tables, {path: origin for path, (_, origin) in merged.items()}, warnings


def _lay_over(below: Layer, above: Layer) -> None:
    """Replace values; a table is laid over a table, everything else replaces what it meets."""
    for path, entry in above.items():
        hidden = [
            known for known in below if known[: len(path)] == path or path[: len(known)] == known
        ]
        for known in hidden:
            del below[known]
        below[path] = entry


def _narrow(operator: Layer, project: Layer) -> list[str]:
    """Let a project narrow what the operator allows; returns what it could not do."""
    warnings = []
    for path, (theirs, origin) in project.items():
        if path == ("run", "budget"):
            own, _ = operator.get(path, ((), None))
            if isinstance(own, list | tuple) and isinstance(theirs, list):
                theirs = [*own, *theirs]  # noqa: PLW2901 — both bound the run
            operator[path] = (theirs, origin)
            continue
        if path in operator:
            mine, whose = operator[path][0], operator[path][1].text
        else:
            mine, whose = TYPED[str(path[0])].model_fields[str(path[1])].default, "the default"
        if PROJECT_KEYS[path](mine, theirs):
            operator[path] = (theirs, origin)
        elif theirs != mine:
            warnings.append(
                f"{origin.text}: {dotted(path)} = {theirs!r} has no effect: a project can only "
                f"narrow, and {whose} says {mine!r}"
            )
    return warnings


def _file_layer(
    file: Path, kind: Literal["user", "project"], known_tables: Collection[str]
) -> Layer:
    try:
        text = read_text(file, limit_bytes=LARGEST_FILE, follow_links=kind == "user")
    except FileNotFoundError:
        return {}
    document = read_toml(text, file)
    _check_tables(document, known_tables)
    layer: Layer = {}
    for path, value in _values(document.data):
        place = document.place(path) or Place(1, 1)
        inside = _places_in(document, path) if isinstance(value, list) else {}
        origin = Origin(kind, f"{file}:{place.line}:{place.column}", file, place, inside)
        layer[path] = (value, origin)
    return layer


def _places_in(document: Document, path: KeyPath) -> dict[KeyPath, Place]:
    deep = len(path)
    return {
        known[deep:]: place
        for known, place in document.places.items()
        if known[:deep] == path and len(known) > deep
    }


def _project_layer(file: Path, user: Path, known_tables: Collection[str]) -> Layer:
    layer = _file_layer(file, "project", known_tables)
    for path, (_, origin) in layer.items():
        if path not in PROJECT_KEYS:
            place = origin.place or Place(1, 1)
            message = _refusal(path, user)
            raise ConfigError(message, file=file, line=place.line, column=place.column)
    return layer


def _refusal(path: KeyPath, user: Path) -> str:
    typed = TYPED.get(str(path[0]))
    if typed is not None and path[1] not in typed.model_fields:
        return f"unknown key {dotted(path)!r}{nearest(str(path[1]), typed.model_fields)}"
    allowed = ", ".join(dotted(key) for key in PROJECT_KEYS)
    return (
        f"{dotted(path)!r} may not be set by a project, because a repository may come from "
        f"anybody; move it to {user} (a project may narrow {allowed})"
    )


def _environment_layer(env: Mapping[str, str]) -> Layer:
    layer: Layer = {}
    if blocked := env.get("SASHIZU_DISABLE"):
        names = [name.strip() for name in blocked.split(",") if name.strip()]
        layer["plugins", "disable"] = (names, _from_environment("SASHIZU_DISABLE"))
    if strict := env.get("SASHIZU_STRICT_PLUGINS"):
        value = {"1": True, "true": True, "0": False, "false": False}.get(strict.lower())
        if value is None:
            raise ConfigError(f"SASHIZU_STRICT_PLUGINS is {strict!r}; set it to 1 or 0")
        layer["plugins", "strict"] = (value, _from_environment("SASHIZU_STRICT_PLUGINS"))
    return layer


def _from_environment(name: str) -> Origin:
    return Origin("environment", f"environment {name}")


def _flag_layer(override: str, known_tables: Collection[str]) -> Layer:
    key, equals, raw = override.partition("=")
    path = _flag_path(key.strip()) if equals else ()
    if len(path) < 2:
        raise ConfigError(f"-c {override!r}: write it as -c table.key=value")
    _check_tables(Document({str(path[0]): {}}), known_tables, f"-c {key}: ")
    origin = Origin("flag", f"-c {dotted(path)}")
    return {path + below: (value, origin) for below, value in _values(_flag_value(raw))}


def _flag_path(key: str) -> KeyPath:
    """The parts of a dotted TOML key; empty if it is none."""
    try:
        found: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    path: KeyPath = ()
    while isinstance(found, dict):
        if len(found) != 1:
            return ()
        ((part, found),) = found.items()
        path = (*path, part)
    return path if found == 0 else ()


def _flag_value(raw: str) -> Any:
    """A TOML value; what is none is text."""
    try:
        found = tomllib.loads(f"value = {raw}")
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        return raw
    return found["value"] if found.keys() == {"value"} else raw


def _values(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every value below a table; a list is one value, and so is an empty table below the top."""
    if not isinstance(value, dict) or (not value and len(path) > 1):
        yield path, value
        return
    for key, below in value.items():
        yield from _values(below, (*path, key))


def _check_tables(document: Document, known: Collection[str], prefix: str = "") -> None:
    for name, table in document.data.items():
        if name not in known:
            hint = nearest(name, known) or _home_of(name)
            raise document.error((name,), f"{prefix}unknown table {name!r}{hint}")
        if not isinstance(table, dict):
            raise document.error((name,), f"{prefix}{name!r} is a table: write [{name}]")


def _home_of(key: str) -> str:
    for table, model in TYPED.items():
        if key in model.model_fields:
            return f"; did you mean '{table}.{key}'?"
    return ""

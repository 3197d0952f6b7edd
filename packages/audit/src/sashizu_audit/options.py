"""What the commands of `audit` share: which record is meant, and which run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from sashizu_core.errors import UsageError, nearest
from sashizu_core.settings import Settings, command_settings

from sashizu_audit.settings import AuditSettings

__all__ = [
    "JsonOption",
    "StoreOption",
    "StoresOption",
    "at_terminal",
    "core_settings_of",
    "find_run",
    "folder_of",
    "folders_of",
    "plain",
    "say_json",
    "settings_of",
    "shown",
]

StoreOption = Annotated[
    Path | None,
    typer.Option("--store", metavar="DIR", help="The folder of the record, if not the usual one."),
]
StoresOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="The folder of the record, if not the usual one; repeatable, to ask several at once.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON value.")]


def settings_of(ctx: typer.Context) -> AuditSettings:
    """The table `[audit]`."""
    return core_settings_of(ctx).plugin("audit", AuditSettings)


def core_settings_of(ctx: typer.Context) -> Settings:
    """Those of the calling command line; alone, those of the working directory."""
    return command_settings(ctx.find_root().obj)


def folder_of(ctx: typer.Context, given: Path | None) -> Path:
    """The folder of the record that is meant.

    Raises:
        UsageError: the one that was given is none.
    """
    if given is None:
        return settings_of(ctx).folder
    if not given.is_dir():
        raise UsageError(f"there is no record in {str(given)!r}")
    return given.absolute()


def folders_of(ctx: typer.Context, given: list[Path] | None) -> list[Path]:
    """The folders of all records that are meant; at least one.

    Raises:
        UsageError: one that was given is none.
    """
    return [folder_of(ctx, one) for one in given] if given else [folder_of(ctx, None)]


def plain(text: str) -> str:
    """Text of a damaged file may hold anything; none of it may steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def at_terminal() -> bool:
    """Whether somebody reads what is printed at a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def shown(text: str) -> str:
    """What a program reads as it is; at a terminal, without what would steer it."""
    if not at_terminal():
        return text
    return "\n".join(plain(line) for line in text.split("\n"))


def say_json(value: Any, say: Callable[[str], None]) -> None:
    """Print a value, or a dataclass, as JSON."""
    import orjson

    found = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    say(shown(orjson.dumps(found, option=orjson.OPT_INDENT_2, default=str).decode()))


def find_run(store: Any, wanted: str) -> str:
    """The id of the run that is meant by `last`, by an id or by the beginning of one.

    Raises:
        UsageError: there is no such run, or more than one.
    """
    if wanted == "last":
        newest = store.query("SELECT max(run_id) FROM runs").rows[0][0]
        if newest is not None:
            return str(newest)
    begun = "SELECT run_id FROM runs WHERE starts_with(CAST(run_id AS VARCHAR), ?) ORDER BY run_id"
    found = [str(row[0]) for row in store.query(begun, [wanted]).rows] if wanted else []
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{wanted!r} names {len(found)} runs: {', '.join(found[:5])}")
    known = [
        str(row[0]) for row in store.query("SELECT run_id FROM runs ORDER BY run_id DESC").rows
    ]
    raise UsageError(
        f"there is no run {wanted!r} on record{nearest(wanted, known)}; "
        "`sashizu audit runs` lists them"
    )

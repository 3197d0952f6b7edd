"""The command `winai apis`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sashizu_winai.winmd.offered import Offering

__all__ = ["apis"]


def apis(
    winmd: Annotated[
        list[Path] | None,
        typer.Option(
            "--winmd",
            metavar="PATH",
            help="A metadata file, or a folder with some, instead of this machine's. Repeatable.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
) -> None:
    """List what the metadata of Windows offers of Windows AI, and what each type is for.

    Ends with 1 if a file cannot be read.
    """
    from sashizu_winai.winmd.offered import read_files

    offering = read_files(_given(winmd) if winmd else _found(sys.platform))
    if as_json:
        typer.echo(json.dumps(offering.as_json(), indent=2))
    else:
        _show(offering)
    if any(one.fault for one in offering.files):
        raise typer.Exit(1)


def _given(paths: list[Path]) -> list[Path]:
    """The files that were named, and those in folders that were.

    Raises:
        UsageError: there is nothing of the name, or no metadata in a folder.
    """
    from sashizu_core.errors import UsageError

    found: list[Path] = []
    for path in paths:
        files = sorted(path.rglob("*.winmd")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            what = "holds no .winmd file" if path.is_dir() else "is not there"
            raise UsageError(f"--winmd {str(path)!r} {what}")
        found += files
    return found


def _found(platform: str) -> list[Path]:
    """The files of this machine.

    Raises:
        Unsupported: this system is not Windows.
        Missing: there are none.
    """
    import os

    from sashizu_winai.errors import Missing, Unsupported
    from sashizu_winai.winmd.finding import winmd_files, winmd_places

    operation, remedy = "find the metadata of Windows", "name files with --winmd PATH"
    if platform != "win32":
        why = f"this system is {platform!r}, and only Windows and its SDK bring such files"
        raise Unsupported(operation, why, remedy=remedy)
    found = list(winmd_files(os.environ))
    if not found:
        places = ", ".join(str(folder) for folder, _ in winmd_places(os.environ))
        raise Missing(operation, f"none is in {places}", remedy=f"install the SDK, or {remedy}")
    return found


def _show(offering: Offering) -> None:
    from sashizu_winai.invoking import plain

    for api in offering.apis:
        typer.echo(f"{api.capability or '-':<18}{api.type.kind:<11}{plain(api.type.full_name)}")
    for file in offering.files:
        if file.fault:
            typer.echo(plain(f"not read: {file.path}: {file.fault}"), err=True)
    if not offering.apis:
        typer.echo("nothing of Windows AI")

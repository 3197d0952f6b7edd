"""The commands that bring a record to another place: `ship`, and `receive` on the far side."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from sashizu_core.errors import RecordError, UsageError

from sashizu_audit.options import JsonOption, StoreOption, folder_of, plain, say_json

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Give these commands to the command `audit`."""
    app.command()(ship)
    app.command()(receive)


def ship(
    ctx: typer.Context,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="A folder on another disk.")
    ] = None,
    command: Annotated[
        str,
        typer.Option(
            metavar="CMD", help="A command that runs 'sashizu audit receive DIR' on another host."
        ),
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Compare what is there already byte for byte.")
    ] = False,
    timeout: Annotated[
        float,
        typer.Option(
            min=1.0, metavar="SECONDS", help="How long the far side of --command may be silent."
        ),
    ] = 120.0,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Send what is new of the record to another place, which only ever adds to what it has.

    It can break off anywhere and be repeated at any time. What is there and differs is named and
    stays as it is; then it ends with 1.
    """
    from sashizu_audit.shipping import ship_by_command, ship_to

    if (to is None) == (not command):
        raise UsageError("say where to: either --to DIR or --command CMD")
    folder = folder_of(ctx, store)
    if to is not None:
        shipped = ship_to(folder, to.absolute(), check=check)
    else:
        shipped = ship_by_command(folder, command, check=check, silence_s=timeout)
    if as_json:
        say_json(asdict(shipped), typer.echo)
    else:
        typer.echo(
            f"{shipped.files} {'file' if shipped.files == 1 else 'files'}, {shipped.bytes} bytes"
        )
        for line in shipped.refused:
            typer.echo(f"refused {plain(line)}", err=True)
    if shipped.refused:
        raise typer.Exit(1)


def receive(
    to: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the copy.")],
) -> None:
    """Be the far side of `ship --command`: take what comes in on standard input.

    It only adds to what is there, so it can be all that a key of ssh is allowed to start.
    """
    from sashizu_audit.shipping import receive as receive_files

    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("nothing comes in: `sashizu audit ship --command` starts this")
    try:
        receive_files(to.absolute(), sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        raise RecordError("the other side is gone; what was taken stays") from None

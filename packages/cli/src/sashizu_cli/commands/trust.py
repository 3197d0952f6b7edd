"""`sashizu trust`: see what a repository brings, and say that it may be used."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from sashizu_core.errors import UsageError
from sashizu_core.trust import TrustStore

from sashizu_cli import keyboard, render
from sashizu_cli.brought import brought_files, show_brought
from sashizu_cli.plain import one_line
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_app
from sashizu_cli.trusting import agree

app = new_app()


@app.command(cls=Command)
def trust(
    ctx: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="The repository; without it, this folder."),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List what is trusted, in all folders.")
    ] = False,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Trust nothing of the repository any more.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Trust what is shown without being asked.")
    ] = False,
) -> None:
    """Show what a repository brings, and trust its agents as they are now.

    An agent whose file is new or has changed needs trust again. A repository's settings need none:
    they can only narrow yours.
    """
    if list_ + revoke + yes > 1:
        raise UsageError("--list, --revoke and --yes are three things to do: say one of them")
    if list_:
        _list()
    elif revoke:
        _revoke(path or Path.cwd())
    else:
        _trust(ctx, path, yes)


def _trust(ctx: typer.Context, path: Path | None, yes: bool) -> None:
    if path is not None:
        try:
            os.chdir(path)
        except OSError as error:
            raise UsageError(f"{str(path)!r}: {error.strerror}") from error
    found = brought_files(session_of(ctx))
    files = [file for file in found if file.trustable]
    show_brought(found)
    if all(file.state == "trusted" for file in files):
        render.note("there is nothing that needs trust" if not files else "all of it is trusted")
        return
    if not yes:
        if not keyboard.somebody_there():
            raise UsageError("nobody is here to be asked: say --yes if you have looked at it")
        if not agree(files):
            raise UsageError("nothing was trusted")
    TrustStore().trust(Path.cwd(), {file.path: file.sha256 for file in files}, keep=False)
    render.note(f"trusted: {', '.join(one_line(file.path) for file in files)}")


def _revoke(path: Path) -> None:
    if not TrustStore().revoke(path):
        raise UsageError(f"nothing is trusted of {str(path)!r}; `sashizu trust --list` shows all")
    render.note("nothing of it is trusted any more")


def _list() -> None:
    trusted = TrustStore().all()
    if not trusted:
        render.note("nothing of any repository is trusted")
    for entry in trusted:
        when = datetime.fromtimestamp(entry.trusted_at).astimezone().isoformat(" ", "seconds")
        render.line(f"{one_line(entry.workspace)}  ({when})")
        for path, sha256 in sorted(entry.files.items()):
            render.line(f"  {one_line(path)}  {sha256}")

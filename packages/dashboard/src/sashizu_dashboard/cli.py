"""The command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app"]

app = typer.Typer(
    help="Write a page about a run.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def report(
    ctx: typer.Context,
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="FILE", help="Where to; '-' is stdout.")
    ],
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="A run's id, the beginning of it, or 'last'.")
    ] = "last",
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write one HTML page about a run: what its agents did, what it cost, what was refused.

    The page needs no network and runs no script.
    """
    from sashizu_core.errors import MissingPackage

    from sashizu_dashboard.asked_record import query_of
    from sashizu_dashboard.page import page_of
    from sashizu_dashboard.record import find_run, read_run
    from sashizu_dashboard.writing import check_place, write_page

    place = Path(out)
    if out != "-":
        check_place(place, force=force)
    query = query_of(ctx)
    if query is None:
        raise MissingPackage("a report of a run", "sashizu-audit")
    text = page_of(read_run(query, find_run(query, run)))
    if out == "-":
        typer.echo(text.encode(), nl=False)
        return
    write_page(place, text, force=force)
    typer.echo(f"wrote {out}", err=True)

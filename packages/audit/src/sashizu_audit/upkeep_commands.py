"""The commands that look after a record: `seal`, `rebuild`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sashizu_core.home import state_home

from sashizu_audit.options import JsonOption, StoreOption, folder_of, plain, say_json

if TYPE_CHECKING:
    from sashizu_audit.sealing import SealReport

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Give these commands to the command `audit`."""
    app.command()(seal)
    app.command()(rebuild)


def _note(text: str) -> None:
    typer.echo(text, err=True)


def seal(
    ctx: typer.Context,
    sign: Annotated[
        bool, typer.Option("--sign/--no-sign", help="Make a checkpoint, if there is a key.")
    ] = True,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Pack the files of writers that have ended, and make them quick to ask.

    Nothing is lost and nothing has to stop for it: runs and queries go on meanwhile.
    """
    from sashizu_audit.sealing import seal_record

    folder = folder_of(ctx, store)
    report = seal_record(folder)
    if report is None:
        _note("another process is sealing this record; nothing was done")
        if as_json:
            say_json({"busy": True}, typer.echo)
        return
    if sign and report.segments:
        _sign(folder)
    if as_json:
        say_json({"busy": False, **_plain_report(report)}, typer.echo)
        return
    typer.echo(
        f"sealed {report.segments} {'segment' if report.segments == 1 else 'segments'} with "
        f"{report.events} events, {report.raw_bytes} bytes in {report.bytes}"
    )
    if report.recovered:
        typer.echo(f"{report.recovered} of them were left open by writers that died")
    if report.open:
        typer.echo(f"{report.open} being written")
    for name, reason in report.left:
        typer.echo(f"left {plain(name)}: {plain(reason)}")


def _plain_report(report: SealReport) -> dict[str, object]:
    found = asdict(report)
    found["left"] = [{"file": name, "reason": reason} for name, reason in report.left]
    return found


def _sign(folder: Path) -> None:
    from sashizu_audit.notes import open_signer
    from sashizu_audit.signing import make_checkpoint
    from sashizu_audit.verify import record_id

    store_id = record_id(folder)
    if (state_home() / "keys" / f"{store_id}.pem").exists():
        make_checkpoint(folder, open_signer(state_home() / "keys", store_id))


def rebuild(ctx: typer.Context, as_json: JsonOption = False, store: StoreOption = None) -> None:
    """Make the tables for queries anew, from the sealed segments.

    For when they were deleted, or `verify` says that they are not what they were.
    """
    from sashizu_audit.rebuilding import rebuild_tables

    made = rebuild_tables(folder_of(ctx, store))
    if as_json:
        say_json(made, typer.echo)
    else:
        typer.echo(f"{made.tables} tables of {made.segments} segments with {made.events} events")

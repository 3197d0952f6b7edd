"""The commands that look after a record: `init`, `seal`, `rebuild`, `prune`, `hold`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sashizu_core.errors import UsageError
from sashizu_core.home import state_home

from sashizu_audit.options import (
    JsonOption,
    StoreOption,
    find_run,
    folder_of,
    plain,
    say_json,
    settings_of,
)

if TYPE_CHECKING:
    from sashizu_audit.holds import HeldRun, Hold
    from sashizu_audit.retention import PruneReport
    from sashizu_audit.sealing import SealReport
    from sashizu_audit.store import AuditStore

__all__ = ["add_to"]

_MIB = 1024 * 1024
_HELD = """
SELECT DISTINCT unnest(blobs) FROM events WHERE run_id = CAST(? AS UUID) AND blobs IS NOT NULL
"""
_MOST_TEXTS = 10_000_000


def add_to(app: typer.Typer) -> None:
    """Give these commands to the command `audit`."""
    app.command()(init)
    app.command()(seal)
    app.command()(rebuild)
    app.command()(prune)
    app.command()(hold)


def _note(text: str) -> None:
    typer.echo(text, err=True)


def init(
    ctx: typer.Context,
    forward_secure: Annotated[
        bool,
        typer.Option(
            "--forward-secure",
            help="Change the key with every checkpoint; destroy the old one.",
        ),
    ] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Begin a record and make its key, and print the public one, to be kept elsewhere.

    Nothing is changed where there is a record or a key already. The first run would begin it too.
    With --forward-secure who steals the machine cannot sign anew what was signed before; the key
    that is printed is the one that leads to all later ones.
    """
    from sashizu_audit.keys import let_evolve, signer_of
    from sashizu_audit.layout import open_layout

    settings = settings_of(ctx)
    folder = settings.folder if store is None else store.absolute()
    layout = open_layout(folder, settings.ballast_mib * _MIB)
    keys = state_home() / "keys"
    if forward_secure:
        line = let_evolve(folder, keys, layout.store_id).line
    else:
        line = signer_of(folder, keys, layout.store_id).public.line
    if as_json:
        found = {"folder": str(folder), "store_id": layout.store_id, "key": line}
        say_json(found, typer.echo)
        return
    _note(f"the record {layout.store_id} is in {plain(str(folder))}")
    typer.echo(line)


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


def _plain_report(report: SealReport | PruneReport) -> dict[str, object]:
    found = asdict(report)
    found["left"] = [{"file": name, "reason": reason} for name, reason in report.left]
    return found


def _sign(folder: Path) -> None:
    from sashizu_audit.keys import signer_of
    from sashizu_audit.signing import make_checkpoint
    from sashizu_audit.verify import record_id

    store_id = record_id(folder)
    if (state_home() / "keys" / f"{store_id}.pem").exists():
        make_checkpoint(folder, signer_of(folder, state_home() / "keys", store_id))


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


def prune(
    ctx: typer.Context,
    keep: Annotated[
        int | None,
        typer.Option(min=1, metavar="DAYS", help="Days to keep, if not keep_days of [audit]."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go.")] = False,
    insist: Annotated[
        bool, typer.Option("--i-know", help="Keep fewer than 183 days all the same.")
    ] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Drop what is older than it has to be kept, and sign what it was.

    Only what is sealed can go. A held run stays, and so does what is not as it was written.
    """
    from sashizu_audit.keys import signer_of
    from sashizu_audit.pruning import prune_record
    from sashizu_audit.retention import Retention
    from sashizu_audit.verify import record_id

    folder, settings = folder_of(ctx, store), settings_of(ctx)
    days = settings.keep_days if keep is None else keep
    report = prune_record(
        folder,
        lambda: signer_of(folder, state_home() / "keys", record_id(folder)),
        Retention(
            days,
            settings.quota_mib * _MIB,
            insist,
            text_days=settings.blob_days,
            text_bytes=settings.blob_mib * _MIB,
        ),
        dry_run=dry_run,
    )
    if as_json:
        say_json({"dry_run": dry_run, **_plain_report(report)}, typer.echo)
    else:
        _say_pruned(report, dry_run)


def _say_pruned(report: PruneReport, dry_run: bool) -> None:
    would = "would drop" if dry_run else "dropped"
    days = f" of {report.days[0]} to {report.days[-1]}" if report.days else ""
    typer.echo(
        f"{would} {report.segments} {'segment' if report.segments == 1 else 'segments'} with "
        f"{report.events} events{days}; kept from {report.before_day} on"
    )
    if report.texts:
        typer.echo(f"{would} {report.texts} kept texts of {report.text_bytes} bytes")
    if report.checkpoint:
        typer.echo(f"checkpoint {report.checkpoint} says what they were")
    if report.held:
        typer.echo(f"{report.held} kept for runs that are held")
    if report.over_bytes:
        typer.echo(f"{report.over_bytes} bytes above quota_mib all the same")
    for name, reason in report.left:
        typer.echo(f"left {plain(name)}: {plain(reason)}")


def hold(
    ctx: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="[RUN]", help="A run's id, the beginning of it, or 'last'.")
    ] = "",
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for the record.")] = "",
    release: Annotated[bool, typer.Option("--release", help="Let it go again.")] = False,
    as_json: JsonOption = False,
    store: StoreOption = None,
) -> None:
    """Keep a run however old it is; without RUN, list the runs that are held."""
    from sashizu_audit.holds import change_hold, read_holds
    from sashizu_audit.seal_lock import own_name
    from sashizu_audit.store import AuditStore

    folder = folder_of(ctx, store)
    if not run:
        if release or reason:
            raise UsageError("name the run that is meant: sashizu audit hold RUN")
        _say_holds(read_holds(folder), as_json)
        return
    held = read_holds(folder)
    known = [one for one in held if one.startswith(run)]
    asked = AuditStore(folder)
    run_id = known[0] if release and len(known) == 1 else find_run(asked, run)
    changed = change_hold(
        folder,
        run_id,
        own_name(),
        reason=reason,
        held=not release,
        look=lambda: _on_record(asked, run_id),
    )
    if as_json:
        say_json({"run_id": run_id, "held": not release, "changed": changed}, typer.echo)
    else:
        state = "no longer held" if release else "held"
        typer.echo(f"{run_id} is {state}" if changed else f"{run_id} was {state} before")


def _on_record(store: AuditStore, run_id: str) -> HeldRun:
    from sashizu_audit.holds import HeldRun

    wanted = "SELECT status FROM runs WHERE run_id = CAST(? AS UUID)"
    found = store.query(wanted, [run_id]).rows
    if found and found[0][0] == "unfinished":
        _note("this run has not ended: hold it again when it has, for the texts to come")
    texts = store.query(_HELD, [run_id], limit=_MOST_TEXTS).rows
    return HeldRun(bool(found), [str(row[0]) for row in texts])


def _say_holds(holds: Mapping[str, Hold], as_json: bool) -> None:
    if as_json:
        say_json([{"run_id": run, **asdict(hold)} for run, hold in holds.items()], typer.echo)
        return
    for run, one in holds.items():
        since = datetime.fromtimestamp(one.since_ns / 1e9, UTC).date()
        typer.echo(f"{run}  since {since}  by {plain(one.actor)}  {plain(one.reason)}".rstrip())
    if not holds:
        typer.echo("no run is held")

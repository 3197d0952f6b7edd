"""The command `cluster`: set it up, and see what it does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from time import localtime, monotonic, sleep, strftime, time
from typing import Annotated

import typer
from sashizu_core.errors import UsageError
from sashizu_core.executors import WorkStatus
from sashizu_core.limits import parse_duration, parse_limits
from sashizu_core.runtime.handed_run import RUN
from sashizu_core.runtime.plain_report import run_report_from

from sashizu_cluster.board import WorkBoard
from sashizu_cluster.cli_settings import settings_of
from sashizu_cluster.collecting import collecting
from sashizu_cluster.database import Database
from sashizu_cluster.errors import told_to_people
from sashizu_cluster.opening import VERSION
from sashizu_cluster.schema import check_cluster, grant_tenant, set_up
from sashizu_cluster.settings import cluster_settings, dsn_of
from sashizu_cluster.slots import namespace_of

__all__ = ["app"]

_LOOK_S = 0.5

app = typer.Typer(
    help="Set up a cluster, and see what it does.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def cluster() -> None:
    """Set up a cluster in PostgreSQL, and see its workers and runs.

    The database is that of [cluster] in the settings, or of SASHIZU_CLUSTER.
    """


@app.command()
def init(
    ctx: typer.Context,
    tenant: Annotated[
        str, typer.Option("--tenant", metavar="NAME", help="Whose runs a role may see.")
    ] = "",
    role: Annotated[
        str, typer.Option("--role", metavar="ROLE", help="Let this role work for the tenant.")
    ] = "",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            metavar="LIMIT",
            help="What all runs of the tenant together may spend: 500usd, 60k; repeatable.",
        ),
    ] = None,
) -> None:
    """Make the tables of the cluster, or bring them up to date; twice changes nothing.

    Connect as the owner of the database.
    """
    from sashizu_cluster.engine import set_up_engine
    from sashizu_cluster.organisation import limit_organisation

    if bool(tenant) != bool(role):
        raise UsageError("--tenant and --role belong together: a role works for one tenant")
    limits = parse_limits(budget or ())
    own = cluster_settings(settings_of(ctx))
    dsn = dsn_of(own)
    found = set_up(dsn, own.name)
    set_up_engine(dsn, tenant or "default")
    if role:
        grant_tenant(dsn, role, tenant)
        set_up_engine(dsn, tenant, role)
    if budget:
        limit_organisation(dsn, tenant or "default", limits)
    typer.echo(f"cluster {found.name} is set up in {told_to_people(dsn)} (schema {found.newest})")


@app.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show the workers, and how much waits and is at work."""
    board = _board(ctx)
    draining, waiting, working = board.counts()
    workers = board.workers(namespace_of(board.tenant))
    with closing(Database(board.dsn)) as database:
        hosts = collecting(database)
    if as_json:
        values = {
            "draining": draining,
            "waiting": waiting,
            "working": working,
            "workers": [asdict(each) for each in workers],
            "hosts": [asdict(each) for each in hosts],
        }
        typer.echo(json.dumps(values))
        return
    for each in workers:
        labels = ",".join(each.labels) or "-"
        typer.echo(
            f"slot {each.slot}  {each.name}  {each.at_once} at once  labels {labels}  "
            f"version {each.version}  since {_clock(each.began)}"
        )
    if not workers:
        typer.echo("no worker is there: start one with 'sashizu worker'")
    typer.echo(f"{waiting} waiting, {working} at work{', draining' if draining else ''}")
    for host in hosts:
        if host.stuck:
            typer.echo(
                f"{host.waiting} events of host {host.host} wait for a worker there, which brings "
                "them into its record"
            )


@app.command()
def runs(
    ctx: typer.Context,
    most: Annotated[int, typer.Option("--last", metavar="N", min=1, max=10_000)] = 20,
    show: Annotated[
        str, typer.Option("--show", metavar="ID", help="Print what the agents of a run came to.")
    ] = "",
    cancel: Annotated[
        str, typer.Option("--cancel", metavar="ID", help="End this run, with all its agents.")
    ] = "",
    forget: Annotated[
        str,
        typer.Option(
            "--forget", metavar="TIME", help="Forget runs that ended so long ago, such as 30d."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Show the newest runs, or what one came to; cancel one, forget those that ended long ago."""
    board = _board(ctx)
    if show:
        _show(board.status(show))
        return
    if cancel:
        from sashizu_cluster.engine import EngineClient

        client = EngineClient(board.dsn, board.tenant, VERSION)
        client.give_up(board.cancel(cancel, "cancelled with 'sashizu cluster runs --cancel'"))
        client.close()
        typer.echo(f"run {cancel} is told to end")
        return
    if forget:
        from sashizu_cluster.engine import EngineClient

        client = EngineClient(board.dsn, board.tenant, VERSION)
        gone = board.forget(time() - parse_duration(forget), client.forget)
        client.close()
        typer.echo(f"{gone} works forgotten; what is on record of them stays in the hosts' logs")
        return
    found = board.runs(RUN, most)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found]))
        return
    rows = [
        [each.key, each.state, f"{each.ended}/{each.below}", _clock(each.submitted), each.error]
        for each in found
    ]
    _print([["run", "state", "agents", "handed over", ""], *rows] if rows else [])


@app.command()
def drain(
    ctx: typer.Context,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="TIME", help="How long to wait; 1h.")
    ] = "1h",
    end: Annotated[bool, typer.Option("--end", help="Take work again.")] = False,
) -> int:
    """Take no further runs, and wait for those that are at work; exit code 1 if time was over."""
    board = _board(ctx)
    if end:
        board.drain(draining=False)
        typer.echo("runs are taken again")
        return 0
    board.drain(draining=True)
    until = monotonic() + parse_duration(timeout)
    while monotonic() < until:
        _, waiting, working = board.counts()
        if not waiting + working:
            typer.echo("drained: nothing waits, nothing is at work")
            return 0
        sleep(_LOOK_S)
    typer.echo("time is over, and runs are still at work ('sashizu cluster runs')", err=True)
    return 1


def _board(ctx: typer.Context) -> WorkBoard:
    own = cluster_settings(settings_of(ctx))
    dsn = dsn_of(own)
    check_cluster(dsn, own.name)
    return WorkBoard(Database(dsn), VERSION)


def _show(status: WorkStatus) -> None:
    typer.echo(f"run {status.key}: {status.state}{f': {status.error}' if status.error else ''}")
    if status.result is None:
        return
    for report in run_report_from(status.result).results:
        typer.echo(f"\n# {report.agent}: {report.outcome.value}\n\n{report.answer or report.error}")


def _clock(seconds: float) -> str:
    return strftime("%Y-%m-%d %H:%M:%S", localtime(seconds))


def _print(rows: Sequence[Sequence[str]]) -> None:
    """Rows as aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())

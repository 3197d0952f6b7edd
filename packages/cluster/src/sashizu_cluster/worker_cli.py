"""The command `worker`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import anyio
import typer
from sashizu_core.limits import parse_duration

from sashizu_cluster.cli_settings import settings_of

__all__ = ["app"]

app = typer.Typer(
    help="Work on what is handed to the cluster.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def worker(
    ctx: typer.Context,
    slots: Annotated[
        int, typer.Option("--slots", metavar="N", min=1, max=1000, help="Agents at work at once.")
    ] = 8,
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            metavar="A,B",
            help="What this machine has, such as gpu:cuda:24g,model:NAME; auto asks its devices.",
        ),
    ] = "",
    root: Annotated[
        list[Path] | None,
        typer.Option(
            "--root",
            metavar="FOLDER",
            help="Where agents may work, and below; repeatable. Without it this folder.",
        ),
    ] = None,
    grace: Annotated[
        str,
        typer.Option(
            "--grace", metavar="TIME", help="How long to finish work when asked to end; 30s."
        ),
    ] = "30s",
) -> int:
    """Work on what is handed to the cluster, until it is asked to end (SIGTERM, Ctrl-C).

    The database is that of [cluster] in the settings. A worker that loses it ends at once, with
    exit code 75, and others go on with its work: have systemd start it again.
    """
    from sashizu_cluster.working import WorkerRequest, work

    request = WorkerRequest(
        settings=settings_of(ctx),
        labels=frozenset(part.strip() for part in labels.split(",") if part.strip()),
        at_once=slots,
        roots=tuple(folder.absolute() for folder in root or [Path()]),
        grace_s=parse_duration(grace),
    )
    return anyio.run(work, request, backend="asyncio")

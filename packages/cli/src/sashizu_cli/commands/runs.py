"""`sashizu runs`: what runs now, what ran, and how to end it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import anyio
import typer
from sashizu_core import control
from sashizu_core.errors import SashizuError

from sashizu_cli import render
from sashizu_cli.plain import one_line
from sashizu_cli.shared import Command, new_group

app = new_group("See and end runs.")

Run = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's id, the beginning of it, or 'last'.")
]


@app.command("list", cls=Command)
def list_(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List runs, newest first."""
    runs = control.list_runs()
    if as_json:
        render.raw(json.dumps([asdict(run) for run in runs], indent=2))
        return
    if not runs:
        render.note("no run has left a trace yet")
        return
    rows = [("RUN", "STARTED", "STATUS", "AGENTS", "WORKSPACE")]
    rows += [
        (run.run_id, _time(run.started_at), run.status, ",".join(run.agents), run.workspace)
        for run in runs
    ]
    render.table(rows)


@app.command(cls=Command)
def status(run: Run) -> None:
    """Print the state of a run as JSON: of every agent while it is at work."""
    state = anyio.run(control.status, run)
    render.raw(json.dumps(state, indent=2, default=str))


@app.command(cls=Command)
def cancel(
    run: Run,
    agent: Annotated[
        str | None,
        typer.Option("--agent", metavar="ID", help="End only this agent instance."),
    ] = None,
) -> None:
    """End a run, or one of its agents; it reports what it has."""
    if not anyio.run(control.cancel, run, agent):
        what = f"the agent {agent!r} of the run {run!r}" if agent else f"the run {run!r}"
        raise SashizuError(f"{one_line(what)} is not at work; `sashizu runs list` shows all runs")
    render.note("it was asked to end")


def _time(seconds: float) -> str:
    """Local time, to the second."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")

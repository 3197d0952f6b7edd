"""`sashizu runs`: what runs now, what ran, how to end it, and how to answer it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal, cast

import anyio
import typer
from sashizu_core import control
from sashizu_core.errors import SashizuError, UsageError

from sashizu_cli import render
from sashizu_cli.approving import show_question
from sashizu_cli.json_text import json_text
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
        render.raw(json_text([asdict(run) for run in runs], indent=2))
        return
    if not runs:
        render.note("no run has left a trace yet")
        return
    rows = [("RUN", "STARTED", "STATUS", "AGENTS", "WORKSPACE")]
    rows += [
        (run.run_id, _time(run.started_at), run.status, _counted(run.agents), run.workspace)
        for run in runs
    ]
    render.table(rows)


@app.command(cls=Command)
def status(run: Run) -> None:
    """Print the state of a run as JSON: of every agent while it is at work."""
    state = anyio.run(control.status, run)
    render.raw(json_text(state, indent=2))


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


@app.command(cls=Command)
def approve(
    run: Run,
    question: Annotated[
        str | None, typer.Argument(metavar="ID", help="The question's id, see --list.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the questions that wait.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Allow this one call.")] = False,
    for_run: Annotated[
        bool, typer.Option("--run", help="Allow the same by this agent until the run ends.")
    ] = False,
    deny: Annotated[bool, typer.Option("--deny", help="Do not allow it.")] = False,
) -> None:
    """Answer what an agent of a run asks for.

    A run asks only where a rule says so, and where it was started with somebody to ask: on a
    terminal, or with --approve ask.
    """
    chosen = [word for word, said in (("once", once), ("run", for_run), ("deny", deny)) if said]
    if list_ and (chosen or question):
        raise UsageError("--list shows the questions; answer one without it")
    if list_:
        _show_questions(run)
        return
    if question is None or len(chosen) != 1:
        raise UsageError("say which question, and one of --once, --run and --deny")
    answer = cast(Literal["deny", "once", "run"], chosen[0])
    if not anyio.run(control.approve, run, question, answer):
        raise SashizuError(
            f"the question {one_line(question)!r} does not wait in the run {one_line(run)!r}; "
            "`sashizu runs approve RUN --list` shows those that do"
        )
    render.note("it was answered")


def _show_questions(run: str) -> None:
    questions = anyio.run(control.status, run).get("questions", ())
    if not questions:
        render.note("nothing waits for an answer")
    for question in questions:
        show_question(question["id"], question["shown"], to_stderr=False)


def _counted(agents: Sequence[str]) -> str:
    """Names, each once, with how often it was asked."""
    return ",".join(
        name if count == 1 else f"{name}\N{MULTIPLICATION SIGN}{count}"
        for name, count in Counter(agents).items()
    )


def _time(seconds: float) -> str:
    """Local time, to the second."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")

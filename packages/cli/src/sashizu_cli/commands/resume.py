"""`sashizu resume RUN`: an interrupted run, gone on with from its record."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sashizu_cli import flags
from sashizu_cli.execution import RunRequest, watched
from sashizu_cli.limits import limits_of
from sashizu_cli.outfile import opened
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_app
from sashizu_cli.went_on import LEFT_OUT, here, told

if TYPE_CHECKING:
    from sashizu_core.repeating import WentOn

app = new_app()


@app.command(cls=Command)
def resume(
    ctx: typer.Context,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The run's id, the beginning of it, or 'last'."),
    ],
    budgets: flags.Budgets = None,
    deadline: flags.Deadline = None,
    approve: flags.Approve = None,
    out: flags.Out = None,
    as_json: flags.AsJson = False,
) -> int:
    """Go on with a run that was interrupted, from what its record holds.

    What was done is not done again. A call that may have had an effect before the interruption is
    asked about; without an answer it is left alone, and its agent is told.
    """
    session = session_of(ctx)
    limits = limits_of(budgets, deadline, session, [])
    request = RunRequest(
        (),
        budget=limits.run,
        deadline_s=limits.deadline_s,
        approve=approve,
        out=out,
        as_json=as_json,
    )
    with opened(out) as file:
        found, interrupted = watched(request, session, partial(_resumed, run), file)
        return told(found, file, to_stderr=as_json, interrupted=interrupted)


async def _resumed(run: str, options: Mapping[str, Any]) -> WentOn:
    from sashizu_core.repeating import resume

    taken = {name: value for name, value in options.items() if name not in LEFT_OUT}
    return await resume(run, workspace=here(), **taken)

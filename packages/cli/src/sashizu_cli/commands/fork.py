"""`sashizu fork RUN --at STEP`: another run from one step of a recorded one on."""

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
from sashizu_cli.windows_ai import on_windows_ai

if TYPE_CHECKING:
    from sashizu_core.repeating import WentOn

app = new_app()


@app.command(cls=Command)
def fork(
    ctx: typer.Context,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The run's id, the beginning of it, or 'last'."),
    ],
    at: Annotated[
        int,
        typer.Option("--at", metavar="STEP", help="The step that is made anew, and all after it."),
    ],
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent", metavar="AGENT", help="Whose step, by name or id, if there were several."
        ),
    ] = None,
    budgets: flags.Budgets = None,
    deadline: flags.Deadline = None,
    model: flags.Model = None,
    approve: flags.Approve = None,
    out: flags.Out = None,
    as_json: flags.AsJson = False,
) -> int:
    """Take the history of a run until a step, and go on live from there.

    Another model or another budget may go on. The recorded run stays as it is.
    """
    session = session_of(ctx)
    limits = limits_of(budgets, deadline, session, [])
    request = RunRequest(
        (),
        budget=limits.run,
        deadline_s=limits.deadline_s,
        model=model,
        approve=approve,
        out=out,
        as_json=as_json,
    )
    request = on_windows_ai(request, session)
    with opened(out) as file:
        call = partial(_forked, run, at, agent)
        found, interrupted = watched(request, session, call, file)
        return told(found, file, to_stderr=as_json, interrupted=interrupted)


async def _forked(run: str, at: int, agent: str | None, options: Mapping[str, Any]) -> WentOn:
    from sashizu_core.repeating import fork

    taken = {name: value for name, value in options.items() if name not in LEFT_OUT}
    model = options["model"]
    return await fork(run, at=at, agent=agent, model=model, workspace=here(), **taken)

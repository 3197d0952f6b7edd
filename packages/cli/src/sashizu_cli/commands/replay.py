"""`sashizu replay RUN`: a recorded run once more, from its record alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sashizu_core.errors import Diverged

from sashizu_cli import flags, render
from sashizu_cli.execution import RunRequest, watched
from sashizu_cli.exits import INTERRUPTED, OK
from sashizu_cli.reports import print_report
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_app

if TYPE_CHECKING:
    from sashizu_core.repeating import Replay

app = new_app()


@app.command(cls=Command)
def replay(
    ctx: typer.Context,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="The run's id, the beginning of it, or 'last'."),
    ],
    as_json: flags.AsJson = False,
    no_audit: flags.NoAudit = False,
) -> int:
    """Make a recorded run once more with the answers and results of its record.

    No model is asked, no tool runs, nothing is paid. Exit code 4 says that something came out
    differently than it is recorded.
    """
    request = RunRequest((), as_json=as_json, audit=not no_audit)
    found, interrupted = watched(request, session_of(ctx), partial(_replayed, run), None)
    print_report(found.report, to_stderr=as_json)
    for difference in found.differences:
        render.error(f"diverged: {difference}")
    if interrupted:
        return INTERRUPTED
    if not found.same:
        return Diverged.exit_code
    render.hint(f"replayed {found.replay_of}: {found.compared} events, all the same")
    return OK


async def _replayed(run: str, options: Mapping[str, Any]) -> Replay:
    from sashizu_core.repeating import replay

    taken = ("settings", "registry", "sinks", "audit", "run_id", "on_text", "on_line", "on_start")
    return await replay(run, **{name: options[name] for name in taken})

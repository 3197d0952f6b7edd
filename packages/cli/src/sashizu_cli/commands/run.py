"""`sashizu run PROMPT`: one agent, one answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from sashizu_core.errors import UsageError

from sashizu_cli import flags
from sashizu_cli.execution import RunRequest, execute
from sashizu_cli.limits import limits_of
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_app
from sashizu_cli.tasks import make_tasks, text_or_stdin
from sashizu_cli.windows_ai import on_windows_ai

AGENT = "general"
TARGET_MS = 20.0

app = new_app()


@app.command(cls=Command)
def run(
    ctx: typer.Context,
    prompt: Annotated[
        str, typer.Argument(metavar="PROMPT", help="What to do; '-' reads it from stdin.")
    ],
    conversation: flags.Conversation = None,
    scopes: flags.Scope = None,
    budgets: flags.Budgets = None,
    deadline: flags.Deadline = None,
    model: flags.Model = None,
    isolation: flags.Isolation = None,
    approve: flags.Approve = None,
    out: flags.Out = None,
    as_json: flags.AsJson = False,
    no_audit: flags.NoAudit = False,
    yes: flags.Yes = False,
    confirm_above: flags.ConfirmAbove = None,
    realtime: Annotated[
        bool,
        typer.Option(
            "--realtime",
            help="With '-': read requests as JSON lines, and answer each in time or not at all.",
        ),
    ] = False,
    target_ms: Annotated[
        float | None,
        typer.Option(
            "--target-ms",
            metavar="MS",
            min=1,
            max=600_000,
            help="With --realtime: milliseconds for each answer. [default: 20]",
        ),
    ] = None,
) -> int:
    """Ask one agent for one thing and print its answer.

    The agent is 'general', or that of the conversation. A bare prompt means the same:
    sashizu "PROMPT".
    """
    session = session_of(ctx)
    if realtime:
        unfit = {
            "--continue": conversation,
            "--scope": scopes,
            "--isolation": isolation,
            "--approve": approve,
            "--out": out,
            "--json": as_json,
        }
        _check_realtime(prompt, [name for name, value in unfit.items() if value])
    elif target_ms is not None:
        raise UsageError("--target-ms is the time of each answer of --realtime: say that too")
    agent = _agent_of(conversation) if conversation else AGENT
    limits = limits_of(budgets, deadline, session, [agent])
    tasks = make_tasks(
        [agent],
        goals=[] if realtime else [text_or_stdin(prompt)],
        scopes=scopes or [],
        limits=limits.agents,
    )
    request = RunRequest(
        tasks,
        budget=limits.run,
        deadline_s=limits.deadline_s,
        model=model,
        isolation=isolation,
        approve=approve,
        out=out,
        as_json=as_json,
        audit=not no_audit,
        yes=yes,
        confirm_above=confirm_above,
        conversation=conversation,
        only_answer=True,
    )
    if realtime:
        from sashizu_cli.realtime import answer_stream

        return answer_stream(on_windows_ai(request, session), session, target_ms or TARGET_MS)
    return execute(request, session)


def _check_realtime(prompt: str, unfit: Sequence[str]) -> None:
    """Refuse what means nothing for requests that come one by one.

    Raises:
        UsageError: says what.
    """
    if prompt != "-":
        raise UsageError(f"--realtime reads requests from stdin: say '-', not {prompt!r}")
    if unfit:
        raise UsageError(f"--realtime takes no {', '.join(unfit)}")
    if sys.stdin is None:
        raise UsageError("'-' reads from stdin, and stdin is closed")


def _agent_of(conversation: str) -> str:
    from sashizu_core.home import state_home
    from sashizu_core.runtime.conversation import load_conversation

    return load_conversation(state_home(), conversation).agent

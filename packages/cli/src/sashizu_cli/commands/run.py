"""`sashizu run PROMPT`: one agent, one answer."""

from __future__ import annotations

from typing import Annotated

import typer

from sashizu_cli import flags
from sashizu_cli.execution import RunRequest, execute
from sashizu_cli.limits import limits_of
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_app
from sashizu_cli.tasks import make_tasks, text_or_stdin

AGENT = "general"

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
) -> int:
    """Ask one agent for one thing and print its answer.

    The agent is 'general', or that of the conversation. A bare prompt means the same:
    sashizu "PROMPT".
    """
    session = session_of(ctx)
    agent = _agent_of(conversation) if conversation else AGENT
    limits = limits_of(budgets, deadline, session, [agent])
    tasks = make_tasks(
        [agent], goals=[text_or_stdin(prompt)], scopes=scopes or [], limits=limits.agents
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
    return execute(request, session)


def _agent_of(conversation: str) -> str:
    from sashizu_core.home import state_home
    from sashizu_core.runtime.conversation import load_conversation

    return load_conversation(state_home(), conversation).agent

"""`sashizu delegate AGENT`: one agent, one report."""

from __future__ import annotations

from typing import Annotated

import typer

from sashizu_cli import flags
from sashizu_cli.catalogue import complete_agents
from sashizu_cli.execution import RunRequest, execute
from sashizu_cli.limits import limits_of
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_app
from sashizu_cli.tasks import make_tasks, text_or_stdin

app = new_app()


@app.command(cls=Command)
def delegate(
    ctx: typer.Context,
    agent: Annotated[
        str,
        typer.Argument(metavar="AGENT", autocompletion=complete_agents, help="The agent's name."),
    ],
    goal: flags.Goal = None,
    scopes: flags.Scope = None,
    budgets: flags.Budgets = None,
    rebalance: flags.Rebalance = False,
    deadline: flags.Deadline = None,
    model: flags.Model = None,
    isolation: flags.Isolation = None,
    executor: flags.Executor = None,
    labels: flags.Labels = None,
    approve: flags.Approve = None,
    out: flags.Out = None,
    as_json: flags.AsJson = False,
    no_audit: flags.NoAudit = False,
    plan: flags.Plan = False,
    yes: flags.Yes = False,
    confirm_above: flags.ConfirmAbove = None,
) -> int:
    """Give one agent a task and print its report."""
    session = session_of(ctx)
    session.choose(executor, labels)
    limits = limits_of(budgets, deadline, session, [agent])
    request = RunRequest(
        make_tasks(
            [agent],
            goals=[] if goal is None else [text_or_stdin(goal)],
            scopes=scopes or [],
            limits=limits.agents,
        ),
        budget=limits.run,
        rebalance=rebalance,
        deadline_s=limits.deadline_s,
        model=model,
        isolation=isolation,
        approve=approve,
        out=out,
        as_json=as_json,
        audit=not no_audit,
        plan=plan,
        yes=yes,
        confirm_above=confirm_above,
    )
    return execute(request, session)

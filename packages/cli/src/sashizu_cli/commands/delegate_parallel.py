"""`sashizu delegate-parallel A,B,...`: several agents at once, one combined report."""

from __future__ import annotations

from typing import Annotated

import typer

from sashizu_cli import flags
from sashizu_cli.catalogue import complete_agent_list
from sashizu_cli.execution import RunRequest, execute
from sashizu_cli.limits import limits_of
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_app
from sashizu_cli.tasks import agent_names, make_tasks, text_or_stdin

app = new_app()


@app.command(cls=Command)
def delegate_parallel(
    ctx: typer.Context,
    agents: Annotated[
        str,
        typer.Argument(
            metavar="A,B,...",
            autocompletion=complete_agent_list,
            help="The agents' names; the same name twice is two agents.",
        ),
    ],
    goals: flags.Goals = None,
    scopes: flags.Scopes = None,
    budgets: flags.Budgets = None,
    rebalance: flags.Rebalance = False,
    deadline: flags.Deadline = None,
    jobs: flags.Jobs = None,
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
    """Give several agents their tasks at once and print one combined report.

    Reports come in the order of the names. One agent's failure never harms another.
    """
    session = session_of(ctx)
    session.choose(executor, labels)
    names = agent_names(agents)
    limits = limits_of(budgets, deadline, session, names)
    request = RunRequest(
        make_tasks(
            names,
            goals=[text_or_stdin(goal) for goal in goals or []],
            scopes=scopes or [],
            limits=limits.agents,
        ),
        budget=limits.run,
        rebalance=rebalance,
        deadline_s=limits.deadline_s,
        jobs=jobs,
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

"""`sashizu supervisor GOAL`: one goal, a plan, several agents, one answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from sashizu_core.errors import UsageError, nearest

from sashizu_cli import flags, render
from sashizu_cli.catalogue import complete_agent_list
from sashizu_cli.execution import RunRequest, asked_first, watched
from sashizu_cli.exits import FAILED, INTERRUPTED, OK, exit_code
from sashizu_cli.limits import limits_of
from sashizu_cli.outfile import opened
from sashizu_cli.session import session_of
from sashizu_cli.shared import Command, new_app
from sashizu_cli.tasks import agent_names, text_or_stdin
from sashizu_cli.windows_ai import on_windows_ai, with_reason

if TYPE_CHECKING:
    from sashizu_core.supervisor import Supervision

app = new_app()

FORMATS = ("text", "json")


def _word(param: typer.CallbackParam, value: str) -> str:
    """Refuse a word that is none of those that the option takes, rather than take another."""
    known = str(param.metavar).split("|")
    if value not in known:
        hint = nearest(value, known)
        raise UsageError(f"{param.opts[-1]} {value!r}{hint}; known: {', '.join(known)}")
    return value


@app.command(cls=Command)
def supervisor(
    ctx: typer.Context,
    goal: Annotated[
        str, typer.Argument(metavar="GOAL", help="What to reach; '-' reads it from stdin.")
    ],
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy",
            metavar="sequential|parallel|hybrid",
            callback=_word,
            help="One step at a time, all at once, or as the plan says.",
        ),
    ] = "hybrid",
    agents: Annotated[
        str | None,
        typer.Option(
            "--agents",
            metavar="A,B,...",
            autocompletion=complete_agent_list,
            help="The agents that may be used; without it, all that need no further trust.",
        ),
    ] = None,
    merge: Annotated[
        str,
        typer.Option(
            "--merge",
            metavar="concatenate|voting|first-success|highest-score|judge",
            callback=_word,
            help="How one answer is made of several.",
        ),
    ] = "concatenate",
    field: Annotated[
        str | None,
        typer.Option(
            "--field",
            metavar="NAME",
            help="With voting: the key that is compared in answers that are JSON.",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--multi-model",
            metavar="M1,M2,...",
            help="Run each step on all of these models at once, and merge their answers.",
        ),
    ] = None,
    only_plan: Annotated[
        bool, typer.Option("--plan", help="Make the plan, print it, and run nothing of it.")
    ] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="text|json", callback=_word, help="What is printed on stdout."
        ),
    ] = "text",
    scopes: flags.Scope = None,
    budgets: flags.Budgets = None,
    rebalance: flags.Rebalance = False,
    deadline: flags.Deadline = None,
    jobs: flags.Jobs = None,
    model: flags.Model = None,
    isolation: flags.Isolation = None,
    approve: flags.Approve = None,
    out: flags.Out = None,
    as_json: flags.AsJson = False,
    no_audit: flags.NoAudit = False,
    yes: flags.Yes = False,
    confirm_above: flags.ConfirmAbove = None,
) -> int:
    """Have a goal planned, carried out by several agents, and answered once.

    Steps run as soon as those they wait for are done; what fails is planned anew, once. Planner,
    steps and judge are one run under one budget.
    """
    if as_json and form == "json":
        raise UsageError("--json and --format json both print on stdout: say one of them")
    session = session_of(ctx)
    names = agent_names(agents) if agents is not None else ()
    limits = limits_of(budgets, deadline, session, names)
    request = RunRequest(
        (),
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
        yes=yes,
        confirm_above=confirm_above,
    )
    wanted: dict[str, Any] = {
        "agents": names,
        "strategy": strategy,
        "merge": merge,
        "field": field or "",
        "models": _listed(models),
        "only_plan": only_plan,
        "scope": tuple(scopes or ()),
        "limits": limits.agents,
    }
    call = partial(_supervise, text_or_stdin(goal), wanted)
    agreed = asked_first(
        on_windows_ai(request, session, agents=names, models=wanted["models"]), session
    )
    if agreed is None:
        return OK
    request = agreed
    with opened(out) as file:
        found, interrupted = watched(request, session, call, file)
        found = replace(found, run=with_reason(found.run, session))
        _print(found, form, only_plan=only_plan, to_stderr=as_json)
        if file is not None:
            from sashizu_cli.supervised import supervision_text

            file.write(supervision_text(found) + "\n")
    return _code(found, interrupted=interrupted)


async def _supervise(
    goal: str, wanted: Mapping[str, Any], options: Mapping[str, Any]
) -> Supervision:
    from sashizu_core.supervisor import supervise

    return await supervise(goal, **wanted, **options)


def _listed(words: str | None) -> tuple[str, ...]:
    if words is None:
        return ()
    found = tuple(word.strip() for word in words.split(","))
    if not all(found):
        raise UsageError(f"--multi-model {words!r} has an empty name between its commas")
    return found


def _print(found: Supervision, form: str, *, only_plan: bool, to_stderr: bool) -> None:
    from sashizu_cli.supervised import print_plan, print_supervision, supervision_text

    for text in found.run.warnings:
        render.warning(text)
    if form == "json":
        render.raw(supervision_text(found))
    elif only_plan:
        print_plan(found, to_stderr=to_stderr)
    else:
        print_supervision(found, to_stderr=to_stderr)


def _code(found: Supervision, *, interrupted: bool) -> int:
    """0 where there is an answer, whatever agents failed on the way to it."""
    if interrupted:
        return INTERRUPTED
    return OK if found.ok else exit_code(found.run.results) or FAILED

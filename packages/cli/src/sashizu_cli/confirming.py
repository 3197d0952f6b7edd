"""Shows what a run would do and cost, and asks once whether it shall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from sashizu_core.errors import TrustNeeded, UsageError
from sashizu_core.ids import RunId, new_run_id
from sashizu_core.limits import parse_limit
from sashizu_core.settings_tables import check_threshold
from sashizu_core.types import Limits

from sashizu_cli import keyboard, render
from sashizu_cli.forecasted import cost_text, print_forecast
from sashizu_cli.trusting import trust_now

if TYPE_CHECKING:
    from sashizu_core.runtime.forecast import Forecast

    from sashizu_cli.execution import RunRequest
    from sashizu_cli.session import Session

__all__ = ["confirmed"]


def confirmed(request: RunRequest, session: Session) -> RunId | None:
    """Plan the run; returns its id if it goes on, None if the plan was all that was wanted.

    Raises:
        UsageError: it may cost more than is allowed without an answer, and the answer is no, or
            nobody can be asked.
        SashizuError: nothing could be run, or the record not be written.
    """
    try:
        return anyio.run(_confirmed, request, session)
    except TrustNeeded as needed:  # nothing has begun
        if not trust_now(needed, session):
            raise
        return anyio.run(_confirmed, request, session)


async def _confirmed(request: RunRequest, session: Session) -> RunId | None:
    from sashizu_core.runtime.forecast import exceeds
    from sashizu_core.runtime.planning import planned_run

    above = _threshold(request, session)
    run_id = new_run_id()
    async with planned_run(
        request.tasks, likely=request.plan, **_options(request, session, run_id)
    ) as planned:
        found = planned.forecast
        too_much = above is not None and exceeds(found.worst, above)
        if not request.plan and not too_much:
            return run_id
        here = keyboard.somebody_there()
        if request.plan or (here and not request.yes):
            print_forecast(found, to_stderr=request.as_json or not request.plan)
        goes_on = request.yes or (here and _asked(too_much=too_much, found=found, above=above))
        await planned.answer(goes_on, "flag" if request.yes else "terminal" if here else "nobody")
    if goes_on:
        return run_id
    if too_much and not request.plan:
        raise UsageError(_refusal(found, above or Limits(), here=here))
    if not here:
        render.note("nothing was run: say --yes to run it")
    return None


def _options(request: RunRequest, session: Session, run_id: RunId) -> dict[str, Any]:
    return {
        "settings": session.settings,
        "registry": session.registry,
        "budget": request.budget,
        "deadline_s": request.deadline_s,
        "jobs": request.jobs,
        "model": request.model,
        "audit": request.audit,
        "isolation": request.isolation,
        "agents": request.definitions,
        "continue_conversation": request.conversation,
        "run_id": run_id,
    }


def _threshold(request: RunRequest, session: Session) -> Limits | None:
    """Above which worst case it has to be asked; a flag counts instead of the setting.

    Raises:
        UsageError: the flag cannot be read.
    """
    if request.confirm_above is not None:
        return check_threshold(request.confirm_above)
    text = session.settings.run.confirm_above
    return parse_limit(text) if text is not None else None


def _asked(*, too_much: bool, found: Forecast, above: Limits | None) -> bool:
    """Ask on the terminal whether it shall be run; no is the default."""
    if too_much and above is not None:
        render.note(f"that is above what needs an answer: {cost_text(above)}")
    count = {0: "it", 1: "this agent"}.get(len(found.agents), "these agents")
    keyboard.forget_typed()
    render.prompt(f"Run {count}? [y/N] ")
    return keyboard.typed_line().lower() in ("y", "yes")


def _refusal(found: Forecast, above: Limits, *, here: bool) -> str:
    most = cost_text(found.worst, "as much as its agents take")
    why = "the answer was no" if here else "nobody is there to be asked"
    return (
        f"nothing was run: it may cost {most}, more than {cost_text(above)}, "
        f"and {why}. Say --yes, limit it with --budget or --deadline, or raise "
        "run.confirm_above in sashizu.toml (or --confirm-above)"
    )

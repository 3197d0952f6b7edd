"""`resume`: an interrupted run, gone on with from its record."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio.to_thread

from sashizu_core.errors import UsageError
from sashizu_core.plugins import Registry
from sashizu_core.repeating.going_on import (
    WentOn,
    check_folders,
    go_on,
    heads,
    open_known,
    same_folder,
)
from sashizu_core.repeating.reading import KnownRun, check_kinds
from sashizu_core.runtime.spent import less, spent_by
from sashizu_core.settings import Settings
from sashizu_core.types import UNITS, Amount, Limits

__all__ = ["resume"]


async def resume(
    run: str,
    *,
    workspace: Path | str | None = None,
    settings: Settings | None = None,
    registry: Registry | None = None,
    budget: Limits | None = None,
    **options: Any,
) -> WentOn:
    """Go on with a run that was interrupted: by a crash, a power cut, or because somebody said so.

    Agents that had ended keep what they said, steps whose outcome is on record are not made again.
    What only read is read again, a model call that was cut off is made again and the first one is
    charged. A call that may have had an effect is asked about, and without an answer left alone:
    the agent is told that its outcome is not known. The run goes on under a new id.

    Args:
        run: its id, the beginning of it if that is the only one, or `last`.
        workspace: the folder that `settings` are for; another than the run's is refused.
        settings: None reads them for the folder of the run.
        registry: None wires the installed plugins.
        budget: what the whole run may use, what it has spent included; None takes what it had.
        options: what `delegate_parallel` takes besides: `approver`, `deadline_s`, `jobs`, `sinks`,
            `on_text`, `on_line`, `on_start`, `run_id`.

    Raises:
        UsageError: there is no such run, it is still at work, has ended, or was gone on with; or
            what is done now is not to be recorded.
        SashizuError: content was not kept, the record is not intact, or its folder is gone.
    """
    if options.get("audit") is False:
        raise UsageError("a run that is gone on with without a record could be gone on with twice")
    known, settings, registry = await open_known(run, settings, registry)
    _check(known)
    await anyio.to_thread.run_sync(check_folders, known, registry)
    same_folder(known, workspace)
    known.past.carries = True
    spent = spent_by(known.past.every, known.recorded.run_id)
    all_spent = _spent_before(known) + spent
    known.past.link = {
        "resumes": known.recorded.run_id,
        "heads": heads(known),
        "spent_before": asdict(all_spent),
    }
    limits = less(known.asked.budget, spent) if budget is None else less(budget, all_spent)
    with ExitStack() as stack:
        claim = known.recorded.claimed()
        _check_first(known, await anyio.to_thread.run_sync(stack.enter_context, claim))
        return await go_on(known, settings, registry, limits, options)


def _spent_before(known: KnownRun) -> Amount:
    """What the runs spent that this one went on from; its own limits are without that."""
    told = (known.started.get("attrs") or {}).get("spent_before") or {}
    return Amount(**{unit: int(told.get(unit, 0)) for unit in UNITS})


def _check_first(known: KnownRun, before: Sequence[str]) -> None:
    """Refuse to go on twice: what the first did would be done again, and paid again.

    Raises:
        UsageError: names who went on.
    """
    if before:
        raise UsageError(
            f"run {known.recorded.run_id} was gone on with already, as run {before[-1]}: if that "
            "one was interrupted, resume that"
        )


def _check(known: KnownRun) -> None:
    """Refuse what cannot be gone on with.

    Raises:
        UsageError: it is still at work, or has ended.
        SashizuError: nobody could go on with an agent of it.
    """
    run_id = known.recorded.run_id
    if known.recorded.alive:
        raise UsageError(
            f"run {run_id} is still at work (`sashizu runs status {run_id}`): nothing to resume"
        )
    if (repeats := known.started.get("replay_of")) is not None:
        raise UsageError(
            f"run {run_id} is a replay of run {repeats}, which did nothing: resume that one"
        )
    ended = known.ended
    if ended is not None and ended.get("status") not in ("cancelled", "timeout"):
        raise UsageError(
            f"run {run_id} has ended with {ended.get('status')!r}: there is nothing to resume "
            "(`sashizu fork` goes on from one of its steps)"
        )
    check_kinds(known)

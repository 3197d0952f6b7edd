"""`resume`: an interrupted run, gone on with from its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sashizu_core.errors import SashizuError, UsageError
from sashizu_core.plugins import Registry, open_registry
from sashizu_core.repeating.making import carried_out
from sashizu_core.repeating.reading import KnownRun, check_kinds, known_run
from sashizu_core.runtime.asked import Asked, asked_by
from sashizu_core.runtime.run_past import RunPast
from sashizu_core.runtime.spent import less, spent_by
from sashizu_core.settings import Settings, load_settings
from sashizu_core.types import Limits, RunReport

__all__ = ["Doubt", "Resumed", "live_settings", "resume", "unfinished_places"]


@dataclass(frozen=True, slots=True)
class Doubt:
    """A call that may have had its effect before the run was interrupted."""

    agent: str
    step: int
    tool: str


@dataclass(frozen=True, slots=True)
class Resumed:
    """What came of going on. `doubts` are the calls that nobody knows the outcome of."""

    run_id: str
    resumes: str
    report: RunReport
    doubts: tuple[Doubt, ...]


async def resume(
    run: str,
    *,
    settings: Settings | None = None,
    registry: Registry | None = None,
    budget: Limits | None = None,
    **options: Any,
) -> Resumed:
    """Go on with a run that was interrupted: by a crash, a power cut, or because somebody said so.

    Agents that had ended keep what they said, steps whose outcome is on record are not made again.
    What only read is read again, a model call that was cut off is made again and the first one is
    charged. A call that may have had an effect is asked about, and without an answer left alone:
    the agent is told that its outcome is not known. The run goes on under a new id.

    Args:
        run: its id, the beginning of it if that is the only one, or `last`.
        settings: None reads them for the folder of the run.
        registry: None wires the installed plugins.
        budget: what the whole run may use, what it has spent included; None takes what it had.
        options: what `delegate_parallel` takes besides: `approver`, `deadline_s`, `jobs`, `sinks`,
            `on_text`, `on_line`, `on_start`, `run_id`, `audit`.

    Raises:
        UsageError: there is no such run, it is still at work, or it has ended.
        SashizuError: content was not kept, the record is not intact, or its folder is gone.
    """
    settings, registry = await _world(settings, registry, run)
    known = await known_run(registry, run, recomputes=False)
    _check(known)
    known.past.carries = True
    known.past.policy = settings.policy
    known.past.link = {"resumes": known.recorded.run_id, "heads": _heads(known)}
    spent = spent_by(known.past.pasts)
    limits = less(budget if budget is not None else known.asked.budget, spent)
    doubts = tuple(_doubts(known.past))
    asked = await _asked(known, settings, registry, limits, options)
    report = await carried_out(asked, known)
    return Resumed(asked.run_id, known.recorded.run_id, report, doubts)


async def _world(
    settings: Settings | None, registry: Registry | None, run: str
) -> tuple[Settings, Registry]:
    """The settings and plugins of today, for the folder of the run."""
    if settings is None:
        here = registry if registry is not None else open_registry(load_settings(Path()))
        known = await known_run(here, run, recomputes=False)
        settings = load_settings(known.asked.root)
    return settings, registry if registry is not None else open_registry(settings)


async def _asked(
    known: KnownRun, settings: Settings, registry: Registry, limits: Limits, options: Any
) -> Asked:
    told: dict[str, Any] = {"jobs": known.asked.jobs}
    told |= {name: value for name, value in options.items() if value is not None}
    asked = asked_by(
        known.asked.tasks,
        workspace=known.asked.root,
        budget=limits,
        model=known.asked.model,
        isolation=known.asked.isolation,
        agents=known.asked.agents,
        settings=live_settings(settings, known),
        registry=replace(registry, agents={}),
        rebalance=known.asked.rebalance,
        **told,
    )
    return replace(asked, past=known.past)


def live_settings(settings: Settings, known: KnownRun) -> Settings:
    """Today's settings; of `[run]` what shaped the run, but who holds programs and runs agents."""
    run = dict(settings.tables.get("run", {}))
    kept = {name: run[name] for name in ("sandbox", "executor") if name in run}
    shaped = {**known.asked.tables.get("run", {}), **kept}
    return replace(settings, tables={**settings.tables, "run": shaped})


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
    ended = known.ended
    if ended is not None and ended.get("status") not in ("cancelled", "timeout"):
        raise UsageError(
            f"run {run_id} has ended with {ended.get('status')!r}: there is nothing to resume "
            "(`sashizu fork` goes on from one of its steps)"
        )
    check_kinds(known)
    unfinished_places(known)


def unfinished_places(known: KnownRun) -> None:
    """Refuse agents whose folder of their own nobody could take up again.

    Raises:
        SashizuError: names the agent.
    """
    for past in known.past.pasts:
        isolation = (past.started.get("attrs") or {}).get("isolation")
        if not past.strict and isolation not in (None, "none"):
            raise SashizuError(
                f"the agent {past.name!r} was at work in a {isolation} of its own, which cannot be "
                "taken up again; what it had changed is still there (`sashizu worktrees`)"
            )


def _doubts(past: RunPast) -> Sequence[Doubt]:
    return [
        Doubt(each.name, step.seq, str(step.intent.get("tool")))
        for each in past.pasts
        if not each.strict
        for step in each.in_doubt()
    ]


def _heads(known: KnownRun) -> dict[str, list[Any]]:
    """The last event of the old run by writer: what the new one rests on."""
    return {writer: [seq, h] for writer, (seq, h) in known.recorded.heads.items()}

"""Makes one answer of several as is asked, with a judge where scores are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sashizu_core.runtime.conducting import Conductor
from sashizu_core.supervisor.judging import judged, judging_problem, judging_task
from sashizu_core.supervisor.merging import (
    Candidate,
    Merge,
    Merged,
    concatenated,
    first_success,
    highest,
    judged_best,
    needs_judge,
    voted,
)
from sashizu_core.supervisor.wanted import Wanted

__all__ = ["merged"]

_RULES: Mapping[Merge, Callable[[Sequence[Candidate]], Merged]] = {
    "concatenate": concatenated,
    "first-success": first_success,
    "highest-score": highest,
    "judge": judged_best,
}


async def merged(
    candidates: Sequence[Candidate], goal: str, wanted: Wanted, conductor: Conductor
) -> Merged:
    """One answer of several to one goal."""
    if wanted.merge == "voting":
        return voted(candidates, wanted.voted_field)
    trouble = ""
    if needs_judge(candidates, wanted.merge) and not conductor.stopped:
        candidates, trouble = await _judged(candidates, goal, wanted, conductor)
    found = _RULES[wanted.merge](candidates)
    return replace(found, note=f"{found.note}; {trouble}") if trouble else found


async def _judged(
    candidates: Sequence[Candidate], goal: str, wanted: Wanted, conductor: Conductor
) -> tuple[Sequence[Candidate], str]:
    """The candidates with scores of the judge, or why they have none."""
    good = [each for each in candidates if each.ok]
    task = judging_task(goal, good, wanted.scope)
    (plan,) = await conductor.prepare(
        [replace(task, limits=wanted.limits_of(task.agent))], beside=False
    )
    if not conductor.model_info(plan).bills_tokens:
        return candidates, f"{plan.model} is no language model and judges nothing"
    accept = partial(judging_problem, count=len(good))
    report = await conductor.work(await conductor.instance(plan, accept=accept))
    if not report.ok:
        return candidates, f"the judge failed: {report.error}"
    scored = iter(judged(report.answer, good))
    return [next(scored) if each.ok else each for each in candidates], ""

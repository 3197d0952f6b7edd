"""Carries out what a recorded run was asked, in the way in which it was asked."""

from __future__ import annotations

from sashizu_core.repeating.reading import KnownRun
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.delegation import run_asked
from sashizu_core.supervisor.report import Supervision
from sashizu_core.supervisor.supervising import supervise_again
from sashizu_core.types import RunReport

__all__ = ["carried_out"]


async def carried_out(asked: Asked, known: KnownRun) -> tuple[RunReport, Supervision | None]:
    """Run the agents: those of the tasks, or those that a supervisor starts.

    The second value is what became of the supervisor's goal; None where there was none.

    Raises:
        SashizuError: see `delegate_parallel` and `supervise`.
    """
    if known.asked.supervised is None:
        return await run_asked(asked), None
    found = await supervise_again(known.asked.supervised, asked)
    return found.run, found

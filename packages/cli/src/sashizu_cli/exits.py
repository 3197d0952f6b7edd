"""What the process ends with.

| code | meaning |
| --- | --- |
| 0 | all agents succeeded, or the command did what it was asked |
| 1 | an agent failed |
| 2 | usage or configuration |
| 3 | an agent's budget was refused |
| 4 | a replay came out differently than it is recorded |
| 124 | an agent met its deadline |
| 130 | interrupted or cancelled |

Where agents ended differently the first of 130, 1, 3, 124, 0 counts: 3 and 124 say that a larger
budget or a later deadline is all it needs, so they give way to a failure of any other kind.
"""

from __future__ import annotations

from collections.abc import Iterable

from sashizu_core.types import AgentReport, Outcome

__all__ = ["BUDGET", "DEADLINE", "DIVERGED", "FAILED", "INTERRUPTED", "OK", "USAGE", "exit_code"]

OK = 0
FAILED = 1
USAGE = 2
BUDGET = 3
DIVERGED = 4
DEADLINE = 124
INTERRUPTED = 130

_WORST_FIRST = (INTERRUPTED, FAILED, BUDGET, DEADLINE, OK)
_CODES = {
    Outcome.BUDGET: BUDGET,
    Outcome.DEADLINE: DEADLINE,
    Outcome.CANCELLED: INTERRUPTED,
}


def exit_code(reports: Iterable[AgentReport], *, interrupted: bool = False) -> int:
    """The exit code of a run."""
    codes = {OK if report.ok else _CODES.get(report.outcome, FAILED) for report in reports}
    if interrupted:
        return INTERRUPTED
    return next((code for code in _WORST_FIRST if code in codes), OK)

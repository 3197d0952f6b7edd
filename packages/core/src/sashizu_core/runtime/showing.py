"""What tools print while they run, on its way to the display."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from sashizu_core.ids import AgentId
from sashizu_core.redaction import Redactor

__all__ = ["shown_lines"]

PAUSE_S = 0.1
"""How long a line may stand before the next one is shown, in seconds: nobody reads faster."""

MAX_CHARACTERS = 1_000


def shown_lines(
    show: Callable[[str, str], None] | None,
    agent_id: AgentId,
    redactor: Redactor,
    *,
    clock: Callable[[], float] = monotonic,
) -> Callable[[str], None] | None:
    """A `progress` for the tools of an agent: some of the lines, cut, and without secrets."""
    if show is None:
        return None
    shown_at = float("-inf")

    def progress(line: str) -> None:
        nonlocal shown_at
        if clock() - shown_at >= PAUSE_S:
            shown_at = clock()
            # Cut last: half a secret looks like none.
            show(agent_id, redactor.text(line[: 2 * MAX_CHARACTERS])[:MAX_CHARACTERS])

    return progress

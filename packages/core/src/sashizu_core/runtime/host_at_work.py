"""A host at work for an agent: what its process asks is asked here, and it ends with its caller."""

from __future__ import annotations

import anyio

from sashizu_core.approvals import Approvals
from sashizu_core.errors import SashizuError
from sashizu_core.grants import Subject
from sashizu_core.hosts import AgentHost, HostedWork
from sashizu_core.protocols import Approval, Approver, Question
from sashizu_core.types import AgentReport, Decision

__all__ = ["AskedHere", "at_work"]


class AskedHere:
    """Puts the questions of another process with those of this one.

    An answer for the run is remembered here, so that the other process hears of one call only.
    """

    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals

    async def ask(self, question: Question) -> Approval:
        found = await self._approvals.decide(
            question.tool,
            question.requests,
            question.needing,
            Subject(question.agent_id, question.agent_name, ()),
            Decision("ask", question.reason, question.rule),
            question.tool_call_id,
            question.arguments,
        )
        allowed = found.verdict == "allow"
        return Approval("once" if allowed else "deny", "" if allowed else found.reason, "above")


async def at_work(
    host: AgentHost, work: HostedWork, approver: Approver | None, found: list[AgentReport]
) -> None:
    """Have a host do the work; who cancels this waits until the process has said its last words."""
    stop = anyio.Event()
    failed: SashizuError | None = None
    async with anyio.create_task_group() as group:

        async def stop_with_the_caller() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                stop.set()

        group.start_soon(stop_with_the_caller)
        try:
            with anyio.CancelScope(shield=True):
                found.append(await host.run(work, stop, approver))
        except SashizuError as error:
            failed = error  # raised below, out of the group
        group.cancel_scope.cancel()
    if failed is not None:
        raise failed

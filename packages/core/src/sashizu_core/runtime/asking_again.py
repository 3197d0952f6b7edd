"""Asks whether something is done again of which nobody knows whether it was done already."""

from __future__ import annotations

from sashizu_core.approvals import Approvals
from sashizu_core.grants import ExecRequest, PermissionRequest, Subject
from sashizu_core.reactions import Reaction
from sashizu_core.turn.hook_commands import SHELL
from sashizu_core.turn.recorded_step import UNKNOWN_OUTCOME
from sashizu_core.types import Decision

__all__ = ["may_again", "may_run_again"]


async def may_again(
    approvals: Approvals | None,
    subject: Subject,
    name: str,
    request: PermissionRequest,
    arguments: str = "",
) -> Decision:
    """Whether what is named so is done again; without somebody who answers it is not."""
    decision = Decision("ask", UNKNOWN_OUTCOME, "", "default")
    if approvals is None:
        reason = f"{UNKNOWN_OUTCOME} Nobody can be asked."
        return Decision("deny", reason, "", "default")
    return await approvals.decide(
        name, (request,), (request,), subject, decision, arguments=arguments, in_doubt=True
    )


async def may_run_again(approvals: Approvals | None, subject: Subject, reaction: Reaction) -> bool:
    """Whether a hook runs again that was running when its run was interrupted."""
    request = ExecRequest((SHELL, "-c", reaction.command), SHELL, any_code=True)
    decision = await may_again(
        approvals, subject, f"hook {reaction.event}", request, reaction.command
    )
    return decision.allowed

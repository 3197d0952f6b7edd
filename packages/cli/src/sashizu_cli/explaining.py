"""What would be decided about one call of a tool."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sashizu_core.errors import ArgumentsError, ToolError, UsageError, nearest
from sashizu_core.granting import request_text
from sashizu_core.grants import ExecRequest, PermissionRequest, Subject, ToolRequest
from sashizu_core.permissions import authorize, combined, readable
from sashizu_core.protocols import Policy, Tool, ToolContext
from sashizu_core.runtime.held import open_sandbox
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.sandboxing import SandboxInfo
from sashizu_core.workspace import Workspace

from sashizu_cli.grant_places import GrantPlaces
from sashizu_cli.policy_view import NO_RUN, Backend, backend_of, plan_of

if TYPE_CHECKING:
    from sashizu_cli.session import Session

__all__ = ["Explained", "Explanation", "explain"]


@dataclass(frozen=True, slots=True)
class Explained:
    """What is decided about one request of a call; `source` is where its rule was read."""

    kind: str
    asks: str
    decision: str
    reason: str
    rule: str
    source: str
    backend: Backend


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is decided about a call: the strictest of what is decided about its requests."""

    agent: str
    tool: str
    decision: str
    reason: str
    requests: tuple[Explained, ...]


async def explain(session: Session, agent: str, tool: str, arguments: str) -> Explanation:
    """What would be decided about one call; nothing of it is done.

    Raises:
        UsageError: there is no such agent or tool, or the arguments do not fit the tool.
    """
    plan, places = plan_of(session, agent)
    spec = plan.tools.get(tool)
    if spec is None:
        return _absent(plan, tool, session)
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(spec.open())
        policies = [
            await stack.enter_async_context(policy.open())
            for policy in session.registry.policies.values()
        ]
        wanted = session.settings.run.sandbox
        sandbox = await open_sandbox(wanted, session.registry.sandboxes, stack)
        subject = Subject("", plan.name, plan.chain)
        context = ToolContext(
            agent_id="",
            agent_name=plan.name,
            run_id=NO_RUN,
            workspace=stack.enter_context(Workspace.open(Path.cwd())),
            readable=readable(subject),
            sandbox=sandbox,
        )
        requests = _requests(opened, tool, arguments, context)
        if isinstance(requests, str):
            return Explanation(plan.name, tool, "deny", requests, ())
        return _explained(requests, subject, policies, places, sandbox.info, tool)


def _absent(plan: AgentPlan, tool: str, session: Session) -> Explanation:
    """The decision about a tool that does not exist for the agent."""
    known = session.registry.tools
    if tool not in known and tool not in plan.absent:
        names = ", ".join(sorted(known)) or "none"
        raise UsageError(f"unknown tool {tool!r}{nearest(tool, known)}; known: {names}")
    why = plan.absent.get(tool, "its definition does not list it")
    reason = f"the tool {tool!r} does not exist for {plan.name}: {why}"
    return Explanation(plan.name, tool, "deny", reason, ())


def _requests(
    opened: Tool, tool: str, arguments: str, context: ToolContext
) -> tuple[PermissionRequest, ...] | str:
    """What a call would touch, or why that cannot be told."""
    try:
        return (ToolRequest(tool), *opened.requests(opened.parse(arguments), context))
    except ArgumentsError as error:
        raise UsageError(f"--args: {error}") from error
    except ToolError as error:
        return str(error)


def _explained(
    requests: Sequence[PermissionRequest],
    subject: Subject,
    policies: Sequence[Policy],
    places: GrantPlaces,
    info: SandboxInfo,
    tool: str,
) -> Explanation:
    runs_programs = any(isinstance(request, ExecRequest) for request in requests)
    decisions = [authorize([request], subject, policies) for request in requests]
    worst = combined(decisions)
    return Explanation(
        agent=subject.agent_name,
        tool=tool,
        decision=worst.verdict,
        reason=worst.reason,
        requests=tuple(
            Explained(
                kind=type(request).__name__.removesuffix("Request").lower(),
                asks=request_text(request),
                decision=decision.verdict,
                reason=decision.reason,
                rule=decision.rule,
                source=places.of_rule(decision.rule, decision.source),
                backend=backend_of(request, runs_programs, info),
            )
            for request, decision in zip(requests, decisions, strict=True)
        ),
    )

"""The tools that start agents."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from time import time
from typing import TYPE_CHECKING, Any

from sashizu_core.control import RunHandle
from sashizu_core.errors import UsageError
from sashizu_core.ids import RunId
from sashizu_core.limits import parse_limits
from sashizu_core.operator_policy import OperatorPolicy
from sashizu_core.runtime.received import check_depth
from sashizu_core.types import Task

from sashizu_mcp_server.server.arguments import (
    Bounds,
    CreateAgent,
    Delegate,
    DelegateParallel,
    Started,
    Supervise,
)
from sashizu_mcp_server.server.caller import AskingCaller, Caller
from sashizu_mcp_server.server.ceiling import bounded
from sashizu_mcp_server.server.following import run_answer
from sashizu_mcp_server.server.results import RunReported, ToolAnswer
from sashizu_mcp_server.server.runs import Finished
from sashizu_mcp_server.server.tools import OfferedTool, typed_tool

if TYPE_CHECKING:
    from sashizu_core.creation import CreatedAgent
    from sashizu_core.supervisor import Supervision

    from sashizu_mcp_server.server.service import Service

__all__ = ["starting_tools"]

Conduct = Callable[[dict[str, Any]], Awaitable[Finished]]
"""Makes a run with what all runs are started with."""


def starting_tools(service: Service) -> Iterator[OfferedTool]:
    """What starts agents; nothing where the ceiling lets nobody start any."""
    policy = service.policy
    if policy.spawn is not None and not policy.spawn:
        return
    # What agents write into the folder of their run is theirs; nothing else may change.
    reads = policy.fs_write == () and policy.exec == () and policy.net == ()
    known = service.agents_told()
    yield typed_tool(
        "delegate",
        "Delegate to an agent",
        f"Have one agent do a task and report, within budget and permission. {known}",
        Delegate,
        RunReported,
        partial(_delegate, service),
        reads=reads,
        open_world=True,
        destructive=True,
    )
    yield typed_tool(
        "delegate_parallel",
        "Delegate to several agents",
        "Have several agents work at once, under one budget, and get all reports in order. With "
        f"wait=false it returns a run_id to poll. {known}",
        DelegateParallel,
        RunReported,
        partial(_delegate_parallel, service),
        reads=reads,
        open_world=True,
        destructive=True,
    )
    yield typed_tool(
        "supervise",
        "Supervise several agents",
        "Have a goal planned as steps for several agents, carried out as their dependencies allow, "
        f"and merged into one answer. {known}",
        Supervise,
        RunReported,
        partial(_supervise, service),
        reads=reads,
        open_world=True,
        destructive=True,
    )
    yield typed_tool(
        "create_agent",
        "Create an agent",
        "Have a model write the definition of a new agent, no wider than what this server allows; "
        "what it wants beyond that is told as refused. It can be delegated to until the server "
        "ends, and is not saved.",
        CreateAgent,
        RunReported,
        partial(_create_agent, service),
        reads=False,
        open_world=True,
    )


async def _delegate(service: Service, asked: Delegate, caller: Caller) -> ToolAnswer:
    task = Task(asked.agent, asked.goal, asked.scope, asked.inputs)
    return await _delegated(service, [task], asked, caller, jobs=None)


async def _delegate_parallel(
    service: Service, asked: DelegateParallel, caller: Caller
) -> ToolAnswer:
    tasks = [
        Task(part.agent, part.goal or asked.goal, part.scope or asked.scope, part.inputs)
        for part in asked.tasks
    ]
    return await _delegated(
        service, tasks, asked, caller, jobs=asked.jobs, rebalance=asked.rebalance
    )


async def _delegated(
    service: Service,
    tasks: Sequence[Task],
    asked: Started,
    caller: Caller,
    *,
    jobs: int | None,
    rebalance: bool = False,
) -> ToolAnswer:
    from sashizu_core import delegate_parallel

    async def conduct(options: dict[str, Any]) -> Finished:
        return Finished(await delegate_parallel(tasks, jobs=jobs, rebalance=rebalance, **options))

    return await _run(service, [task.agent for task in tasks], asked, caller, conduct)


async def _supervise(service: Service, asked: Supervise, caller: Caller) -> ToolAnswer:
    from sashizu_core.supervisor import supervise

    agents = asked.agents or service.may_spawn()

    async def conduct(options: dict[str, Any]) -> Finished:
        found = await supervise(
            asked.goal,
            agents=agents,
            strategy=asked.strategy,
            merge=asked.merge,
            scope=asked.scope,
            models=asked.models,
            only_plan=asked.plan_only,
            rebalance=asked.rebalance,
            definitions=options.pop("agents"),
            **options,
        )
        return Finished(found.run, found.answer, _supervised(found), found.ok or asked.plan_only)

    return await _run(
        service, agents or ("supervisor",), asked, caller, conduct, named=asked.agents
    )


def _supervised(found: Supervision) -> dict[str, Any]:
    """Plan, steps and merge, as JSON values."""
    return {
        "plan": asdict(found.plan) if found.plan is not None else None,
        "replanned": asdict(found.replanned) if found.replanned is not None else None,
        "steps": [asdict(step) for step in found.steps],
        "merged": asdict(found.merged) if found.merged is not None else None,
    }


async def _create_agent(service: Service, asked: CreateAgent, caller: Caller) -> ToolAnswer:
    from sashizu_core.creation import create_agent

    async def conduct(options: dict[str, Any]) -> Finished:
        found = await create_agent(asked.prompt, definitions=options.pop("agents"), **options)
        if found.definition is not None:
            service.made[found.definition.name] = found.definition
        return Finished(found.run, found.text, _created(found), found.ok)

    return await _run(service, ("create_agent",), asked, caller, conduct, named=())


def _created(found: CreatedAgent) -> dict[str, Any]:
    return {
        "name": found.definition.name if found.definition is not None else "",
        "sha256": found.sha256,
        "refused": [asdict(wish) for wish in found.refused],
        "model": found.model,
        "by_rules": found.by_rules,
        "error": found.error,
    }


async def _run(
    service: Service,
    agents: Sequence[str],
    asked: Started,
    caller: Caller,
    conduct: Conduct,
    *,
    named: Sequence[str] | None = None,
) -> ToolAnswer:
    """Start a run under the server's ceiling and ledger; `named` are agents to be allowed."""
    settings = bounded(service.settings, _policy(asked.bounds))
    if service.received is not None:
        check_depth(service.received)
    for agent in agents if named is None else named:
        _check_spawn(settings.policy, agent, service)
    budget = parse_limits(asked.budget) if asked.budget else None

    async def start(run_id: RunId, begun: Callable[[RunHandle], None]) -> Finished:
        return await conduct(
            {
                **service.run_options(),
                "budget": budget,
                "deadline_s": _seconds(service, asked.deadline_s),
                "settings": settings,
                "approver": AskingCaller(caller),
                "on_start": begun,
                "run_id": run_id,
            }
        )

    run = await service.runs.start(agents, start)
    if asked.wait:
        await service.runs.finish(run, caller)
    return run_answer(service, run)


def _seconds(service: Service, asked: float | None) -> float | None:
    """How long a run may take: no longer than what was handed over to the server lives."""
    handoff = service.received.handoff if service.received is not None else None
    if handoff is None or handoff.deadline is None:
        return asked
    left = max(0.001, handoff.deadline - time())
    return left if asked is None else min(asked, left)


def _check_spawn(policy: OperatorPolicy, agent: str, service: Service) -> None:
    """Refuse an agent that the ceiling does not let clients start."""
    if policy.spawn is None or "*" in policy.spawn:
        return
    name = service.catalogue().entry(agent).name
    if name not in policy.spawn:
        allowed = ", ".join(sorted(policy.spawn)) or "none"
        raise UsageError(f"this server does not let you start {name!r}; allowed: {allowed}")


def _policy(bounds: Bounds | None) -> OperatorPolicy:
    """What a client narrows by, as a policy."""
    if bounds is None:
        return OperatorPolicy()
    return OperatorPolicy(
        tools=None if bounds.tools is None else frozenset(bounds.tools),
        fs_read=bounds.fs_read,
        fs_write=bounds.fs_write,
        net=bounds.net,
        exec=bounds.exec,
        spawn=None if bounds.spawn is None else frozenset(bounds.spawn),
        source="what the MCP client allows",
    )

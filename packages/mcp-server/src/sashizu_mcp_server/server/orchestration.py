"""The tools that start agents, and those that follow what they do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from sashizu_core.agents import Catalogue
from sashizu_core.agents.effective import effective_tools
from sashizu_core.errors import SashizuError, TrustNeeded, UsageError
from sashizu_core.limits import parse_limits
from sashizu_core.operator_policy import OperatorPolicy
from sashizu_core.trust import TrustStore
from sashizu_core.types import RunReport, Task

from sashizu_mcp_server.server.arguments import (
    AuditQuery,
    Bounds,
    Delegate,
    DelegateParallel,
    NoArguments,
    RunQuery,
    RunRef,
    WaitForRun,
)
from sashizu_mcp_server.server.caller import AskingCaller, Caller
from sashizu_mcp_server.server.ceiling import bounded
from sashizu_mcp_server.server.results import (
    AgentList,
    BudgetStatus,
    Listed,
    Output,
    Queried,
    RunReported,
    RunState,
    RunStates,
    ToolAnswer,
    budget_of,
)
from sashizu_mcp_server.server.runs import Run
from sashizu_mcp_server.server.tools import OfferedTool, typed_tool

if TYPE_CHECKING:
    from sashizu_mcp_server.server.service import Service

__all__ = ["agent_list", "orchestration_tools", "report_text"]

QUERY_S = 20.0
"""How long one question to the record may take, in seconds."""

MOST_TEXT = 200_000
"""Characters of an answer as text."""


def orchestration_tools(service: Service) -> Iterator[OfferedTool]:
    """What the server offers beside the tools for files and programs."""
    policy = service.policy
    harmless = policy.fs_write == () and policy.exec == () and policy.net == ()
    if policy.spawn is None or policy.spawn:
        yield from _starting(service, reads=harmless)
    yield typed_tool(
        "list_agents",
        "List agents",
        "List the agents that can be delegated to: names, what they are for, their tools.",
        NoArguments,
        AgentList,
        partial(_list_agents, service),
        reads=True,
    )
    yield from _following(service)
    yield typed_tool(
        "budget_status",
        "Budget",
        "Tell what everything that was started through this server may use, has used and holds.",
        NoArguments,
        BudgetStatus,
        partial(_budget_status, service),
        reads=True,
    )
    if service.may_ask_record:
        yield typed_tool(
            "audit_query",
            "Ask the record",
            "Run one read-only SQL SELECT over the record of what agents did. Views: events, runs, "
            "agent_executions, agent_tree, model_calls, tool_calls, token_usage, security_events, "
            "budget_events, artifacts.",
            AuditQuery,
            Queried,
            partial(_audit_query, service),
            reads=True,
        )


def _starting(service: Service, *, reads: bool) -> Iterator[OfferedTool]:
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


def _following(service: Service) -> Iterator[OfferedTool]:
    yield typed_tool(
        "run_status",
        "State of runs",
        "Tell how far a run is: every agent's state, step, tool and tokens. Without run_id, all "
        "runs that this server started.",
        RunQuery,
        RunStates,
        partial(_run_status, service),
        reads=True,
    )
    yield typed_tool(
        "run_result",
        "Result of a run",
        "Get the reports of a run that was started with wait=false; wait_s waits for its end.",
        WaitForRun,
        RunReported,
        partial(_run_result, service),
        reads=True,
    )
    yield typed_tool(
        "cancel_run",
        "Cancel a run",
        "End every agent of a run; each reports what it has.",
        RunRef,
        RunState,
        partial(_cancel_run, service),
        reads=False,
        idempotent=True,
    )


# --- starting -------------------------------------------------------------------------------------


async def _delegate(service: Service, asked: Delegate, caller: Caller) -> ToolAnswer:
    task = Task(asked.agent, asked.goal, asked.scope, asked.inputs)
    return await _run(service, [task], asked, caller, jobs=None)


async def _delegate_parallel(
    service: Service, asked: DelegateParallel, caller: Caller
) -> ToolAnswer:
    tasks = [
        Task(part.agent, part.goal or asked.goal, part.scope or asked.scope, part.inputs)
        for part in asked.tasks
    ]
    return await _run(service, tasks, asked, caller, jobs=asked.jobs)


async def _run(
    service: Service,
    tasks: Sequence[Task],
    asked: Delegate | DelegateParallel,
    caller: Caller,
    *,
    jobs: int | None,
) -> ToolAnswer:
    settings = bounded(service.settings, _policy(asked.bounds))
    for task in tasks:
        _check_spawn(settings.policy, task.agent, service)
    budget = parse_limits(asked.budget) if asked.budget else None

    async def start(run_id: Any, begun: Any) -> RunReport:
        return await service.delegated(
            tasks,
            budget=budget,
            deadline_s=asked.deadline_s,
            jobs=jobs,
            settings=settings,
            approver=AskingCaller(caller),
            on_start=begun,
            run_id=run_id,
        )

    run = await service.runs.start([task.agent for task in tasks], start)
    if asked.wait:
        await service.runs.finish(run, caller)
    return _run_answer(service, run)


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


# --- following ------------------------------------------------------------------------------------


async def _run_status(service: Service, asked: RunQuery, caller: Caller) -> ToolAnswer:  # noqa: ARG001
    runs = [service.runs.get(asked.run_id)] if asked.run_id else list(service.runs)
    states = RunStates(runs=tuple(run.state() for run in runs))
    lines = [
        f"{state.run_id} {state.status} {state.seconds:.0f} s: {', '.join(state.agents)}"
        for state in states.runs
    ]
    return _answer("\n".join(lines) or "no runs", states)


async def _run_result(service: Service, asked: WaitForRun, caller: Caller) -> ToolAnswer:
    run = service.runs.get(asked.run_id)
    if asked.wait_s and not run.done.is_set():
        with anyio.move_on_after(asked.wait_s):
            await service.runs.watch(run, caller)
    return _run_answer(service, run)


async def _cancel_run(service: Service, asked: RunRef, caller: Caller) -> ToolAnswer:  # noqa: ARG001
    run = service.runs.get(asked.run_id)
    if not run.done.is_set():
        run.cancel("cancelled by the MCP client")
        with anyio.move_on_after(5.0):
            await run.done.wait()
    state = run.state()
    return _answer(f"the run {run.run_id} is {state.status}", state)


def _run_answer(service: Service, run: Run) -> ToolAnswer:
    told = run.reported()
    text = report_text(told)
    if run.error is not None:
        return ToolAnswer(service.redactor.text(str(run.error)), is_error=True)
    return _answer(text, told)


def report_text(told: RunReported) -> str:
    """A run as a model reads it: every agent's answer, what it made, and why it failed."""
    if told.status == "running":
        return (
            f"the run {told.run_id} is at work; poll run_status, then get run_result with this id"
        )
    parts = [f"run {told.run_id}: {told.status}, {told.tokens} tokens"]
    for result in told.results:
        parts.append(f"# {result.agent}: {result.status} ({result.outcome})")
        if result.error:
            parts.append(f"error: {result.error}")
        if result.answer:
            parts.append(result.answer)
        parts += [f"- {each.verdict}: {each.text}" for each in result.criteria]
        parts += [f"- wrote {made.path} ({made.uri})" for made in result.artifacts]
    return "\n\n".join([*parts, *told.warnings])


# --- lists ----------------------------------------------------------------------------------------


async def _list_agents(service: Service, asked: NoArguments, caller: Caller) -> ToolAnswer:  # noqa: ARG001
    found = await anyio.to_thread.run_sync(agent_list, service)
    lines = [f"{agent.name}: {agent.goal}" for agent in found.agents]
    return _answer("\n".join(lines), found)


def agent_list(service: Service) -> AgentList:
    """The agents of the workspace; reads their files."""
    catalogue = service.catalogue()
    listed = []
    for entry in catalogue:
        try:
            tools = tuple(effective_tools(entry.definition, service.registry.tools)[0])
        except SashizuError:
            tools = ()
        listed.append(
            Listed(
                name=entry.name,
                goal=" ".join(entry.definition.goal.split())[:400],
                scope=entry.scope,
                tools=tools,
                needs_trust=entry.scope == "repository"
                and _needs_trust(service, catalogue, entry.name),
            )
        )
    problems = tuple(f"{problem.file}: {problem.error}" for problem in catalogue.problems)
    return AgentList(agents=tuple(listed), problems=problems)


def _needs_trust(service: Service, catalogue: Catalogue, name: str) -> bool:
    try:
        TrustStore().require(service.root, [catalogue.entry(name)])
    except TrustNeeded:
        return True
    return False


async def _budget_status(service: Service, asked: NoArguments, caller: Caller) -> ToolAnswer:  # noqa: ARG001
    server = budget_of(service.budget.node.state()) if service.budget is not None else None
    status = BudgetStatus(server=server, runs=tuple(run.state() for run in service.runs))
    if server is None:
        return _answer("no ledger is installed (sashizu-budget)", status)
    left = "no limit" if server.limits.tokens is None else f"of {server.limits.tokens}"
    text = f"spent {server.spent.tokens} tokens ({left}), holds {server.held.tokens}"
    return _answer(text, status)


async def _audit_query(service: Service, asked: AuditQuery, caller: Caller) -> ToolAnswer:  # noqa: ARG001
    query = service.record_query()
    rows = await anyio.to_thread.run_sync(
        lambda: query(asked.sql, asked.limit, QUERY_S), abandon_on_cancel=True
    )
    plain = json.loads(json.dumps(rows.rows, default=str))
    queried = Queried(columns=rows.columns, rows=tuple(map(tuple, plain)), truncated=rows.truncated)
    head = "\t".join(rows.columns)
    lines = ["\t".join(map(str, row)) for row in queried.rows]
    return _answer("\n".join([head, *lines]), queried)


def _answer(text: str, output: Output) -> ToolAnswer:
    if len(text) > MOST_TEXT:
        text = text[:MOST_TEXT] + "\n[cut]"
    return ToolAnswer(text, output.model_dump(mode="json"))

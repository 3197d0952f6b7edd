"""The tools that tell what there is: agents, budget, record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
from sashizu_core.agents import Catalogue
from sashizu_core.agents.effective import effective_tools
from sashizu_core.errors import SashizuError, TrustNeeded
from sashizu_core.trust import TrustStore

from sashizu_mcp_server.server.arguments import AuditQuery, NoArguments
from sashizu_mcp_server.server.caller import Caller
from sashizu_mcp_server.server.results import (
    AgentList,
    BudgetStatus,
    Listed,
    Queried,
    ToolAnswer,
    answer_of,
    budget_of,
)
from sashizu_mcp_server.server.tools import OfferedTool, typed_tool

if TYPE_CHECKING:
    from sashizu_mcp_server.server.service import Service

__all__ = ["agent_list", "listing_tools"]

QUERY_S = 20.0
"""How long one question to the record may take, in seconds."""


def listing_tools(service: Service) -> Iterator[OfferedTool]:
    """What tells of agents, the budget and the record."""
    yield typed_tool(
        "list_agents",
        "List agents",
        "List the agents that can be delegated to: names, what they are for, their tools.",
        NoArguments,
        AgentList,
        partial(_list_agents, service),
        reads=True,
    )
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


async def _list_agents(service: Service, asked: NoArguments, caller: Caller) -> ToolAnswer:  # noqa: ARG001
    found = await anyio.to_thread.run_sync(agent_list, service)
    lines = [f"{agent.name}: {agent.goal}" for agent in found.agents]
    return answer_of("\n".join(lines), found)


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
        return answer_of("no ledger is installed (sashizu-budget)", status)
    left = "no limit" if server.limits.tokens is None else f"of {server.limits.tokens}"
    text = f"spent {server.spent.tokens} tokens ({left}), holds {server.held.tokens}"
    return answer_of(text, status)


async def _audit_query(service: Service, asked: AuditQuery, caller: Caller) -> ToolAnswer:  # noqa: ARG001
    query = service.record_query()
    service.record_now()
    rows = await anyio.to_thread.run_sync(
        lambda: query(asked.sql, asked.limit, QUERY_S), abandon_on_cancel=True
    )
    plain = json.loads(json.dumps(rows.rows, default=str))
    queried = Queried(columns=rows.columns, rows=tuple(map(tuple, plain)), truncated=rows.truncated)
    head = "\t".join(rows.columns)
    lines = ["\t".join(map(str, row)) for row in queried.rows]
    return answer_of("\n".join([head, *lines]), queried)

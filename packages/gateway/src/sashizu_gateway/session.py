"""A gateway as a run: one record, one ledger, one handle, for as long as it serves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
from sashizu_core.control import RunHandle
from sashizu_core.errors import UsageError
from sashizu_core.redaction import Redactor
from sashizu_core.runtime.asked import Asked
from sashizu_core.runtime.bracket import RunStatus, bracketed, deadline
from sashizu_core.runtime.opened_run import check_ledger, opened_run, sources_of
from sashizu_core.runtime.run_parts import RunParts
from sashizu_core.types import BudgetState, Limits

from sashizu_gateway.clients import Client
from sashizu_gateway.dialects.dialect import Provider
from sashizu_gateway.gateway import Gateway
from sashizu_gateway.serving import Address, serve
from sashizu_gateway.settings import GatewaySettings, Target, gateway_settings, targets
from sashizu_gateway.upstream import Upstream, open_upstream

__all__ = ["Session", "open_session", "open_upstreams", "usable"]


@dataclass(slots=True)
class Session:
    """A gateway that serves. `status` is what the record says of the run when it has ended."""

    gateway: Gateway
    parts: RunParts
    address: Address
    status: RunStatus
    scope: anyio.CancelScope
    clients: list[Client] = field(default_factory=list)

    @property
    def handle(self) -> RunHandle:
        return self.parts.handle

    @property
    def budget(self) -> BudgetState | None:
        """The whole run's state; None without a ledger."""
        return self.parts.root.state() if self.parts.root is not None else None

    def client(
        self, name: str, limits: Limits | None = None, per_agent: Limits | None = None
    ) -> Client:
        """Let a client in, below a node of its own; `per_agent` limits each of its agents."""
        root = self.parts.root
        client = Client(
            name,
            run_id=self.parts.run_id,
            recorder=self.parts.recorder,
            budget=self.parts.budget,
            node=root.open(name, limits or Limits()) if root is not None else None,
            per_agent=per_agent,
            most_agents=self.gateway.settings.agents,
        )
        self.gateway.admit(client)
        self.clients.append(client)
        return client

    def progress(self) -> Mapping[str, Any]:
        """What is known of every agent, as JSON values."""
        states = [
            {
                "agent": agent.name,
                "agent_id": agent.agent_id,
                "state": "working",
                "step": agent.steps.count,
                "tool": "",
                "tokens": agent.tokens,
                "limit": None,
                "depth": agent.depth,
                "parent_agent_id": agent.recorder.context.get("parent_agent_id"),
            }
            for client in self.clients
            for agent in client.agents
        ]
        return {"agent_states": states}


def usable(found: Mapping[Provider, Target]) -> dict[Provider, Target]:
    """The services that can be used.

    Raises:
        UsageError: none can; says why.
    """
    good = {provider: target for provider, target in found.items() if not target.problem}
    if not good:
        problems = "; ".join(target.problem for target in found.values())
        raise UsageError(f"the gateway has no service to forward to: {problems}")
    return good


@asynccontextmanager
async def open_upstreams(
    found: Mapping[Provider, Target], *, idle_s: float
) -> AsyncGenerator[dict[Provider, Upstream]]:
    """Open the services."""
    async with AsyncExitStack() as stack:
        yield {
            provider: await stack.enter_async_context(open_upstream(target, idle_s=idle_s))
            for provider, target in found.items()
        }


@asynccontextmanager
async def open_session(
    asked: Asked,
    redactor: Redactor,
    address: Address,
    *,
    table: GatewaySettings | None = None,
    about: Mapping[str, Any] | None = None,
) -> AsyncGenerator[Session]:
    """Serve a gateway as a run of its own, until left or cancelled.

    `table` stands in for the settings. `about` is what the record says of the run.

    Raises:
        UsageError: there is no service to forward to, or the address cannot be had.
        MissingPackage: a budget or a durable record is asked for and its package is absent.
        RecordError: the record cannot be written.
    """
    check_ledger(asked)
    table = table or gateway_settings(asked.settings)
    services = usable(targets(table))
    async with (
        opened_run(asked, sources_of(asked), [], redactor) as opened,
        bracketed(asked, [], opened.parts, about) as status,
        open_upstreams(services, idle_s=table.idle_s) as upstreams,
    ):
        gateway = Gateway(upstreams, table)
        parts = opened.parts
        for target in services.values():
            parts.recorder.redactor.learn(*target.secrets)
        clients: list[Client] = []
        with anyio.CancelScope() as scope:
            try:
                async with (
                    deadline(asked, parts.handle),
                    serve(gateway, address) as taken,
                ):
                    assert taken is not None
                    session = Session(gateway, parts, taken, status, scope, clients)
                    parts.handle.snapshot = session.progress
                    parts.handle.track("gateway", scope)
                    try:
                        yield session
                    finally:
                        for client in clients:
                            gateway.dismiss(client)
            finally:  # their calls have ended by now, and are booked
                for client in clients:
                    client.end()
        opened.control.ended(status.text, 0)

"""Clients of the gateway, their agents, and the nodes of the budget that these are."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from sashizu_core.ids import AgentId, RunId, new_agent_id, span_id
from sashizu_core.protocols import Budget, BudgetNode, Busy, Refused
from sashizu_core.turn.inference import record_refusal, refusal
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import Amount, Limits, Usage

from sashizu_gateway.bounding import Prefixes
from sashizu_gateway.callers import Caller

__all__ = ["DEEPEST", "Agent", "Client", "new_token"]

DEEPEST = 32
"""Levels of agents below a client's first that are told apart."""


def new_token() -> str:
    """32 random bytes, fit for a header."""
    return f"sk-sashizu-{secrets.token_urlsafe(32)}"


@dataclass(slots=True)
class Agent:
    """One agent of a client: its node, and what it used as the gateway saw it.

    `doubtful_tokens` are the holds of calls that came back without a bill; `removed` is what was
    left out of its requests, `over_budget` why the last call that did not fit was refused.
    """

    agent_id: AgentId
    name: str
    depth: int
    node: BudgetNode | None
    recorder: Recorder
    steps: StepContext
    started: float = field(default_factory=monotonic)
    used: Usage = field(default_factory=lambda: Usage(requests=0))
    doubtful_tokens: int = 0
    refused: int = 0
    over_budget: str = ""
    removed: set[str] = field(default_factory=set)

    @property
    def tokens(self) -> int:
        return self.used.tokens + self.doubtful_tokens


class Client:
    """Whoever has one token: a branch of the budget, and the agents below it.

    `root` is the agent of ours that the client's first agent is, if it is one: without it every
    agent of the client is an agent of its own. `per_agent` limits each of the others. `secret` is
    what the client has to show.
    """

    def __init__(
        self,
        name: str,
        *,
        run_id: RunId,
        recorder: Recorder,
        budget: Budget | None,
        node: BudgetNode | None,
        root: Agent | None = None,
        per_agent: Limits | None = None,
        most_agents: int = 1000,
    ) -> None:
        self.name = name
        self.secret = new_token()
        recorder.redactor.learn(self.secret)
        self.budget = budget
        self.node = node
        self.prefixes = Prefixes()
        self.on_agent: Callable[[Agent], None] | None = None
        self._run_id = run_id
        self._recorder = recorder
        self._root = root
        self._per_agent = per_agent or Limits()
        self._most = most_agents
        self._agents: dict[str, Agent] = {}

    @property
    def agents(self) -> Iterator[Agent]:
        """All agents, the first one first."""
        if self._root is not None:
            yield self._root
        yield from self._agents.values()

    @property
    def used(self) -> Usage:
        """What all agents together used."""
        return sum((agent.used for agent in self.agents), Usage(requests=0))

    @property
    def doubtful_tokens(self) -> int:
        return sum(agent.doubtful_tokens for agent in self.agents)

    def agent_of(self, caller: Caller) -> Agent:
        """The agent that makes a request; one that is new is booked, and recorded.

        Raises:
            BudgetRefused: the budget has room for no further agent.
            RecordError: the record cannot be written.
        """
        if self._root is not None and not caller.parent:
            return self._root
        known = self._agents.get(caller.agent)
        if known is not None:
            return known
        above = self._agents.get(caller.parent) or self._root
        top = self._root.depth if self._root is not None else 0
        if above is not None and above.depth - top >= DEEPEST:
            return above  # still counted, but not apart
        if len(self._agents) >= self._most and (above or self._agents):
            return above or next(iter(self._agents.values()))  # still counted, but not apart
        agent = self._begun(caller, above)
        self._agents[caller.agent] = agent
        return agent

    def _begun(self, caller: Caller, above: Agent | None) -> Agent:
        agent_id = new_agent_id()
        name = f"{self.name}/{caller.name}" if caller.name else self.name
        over = above.node if above is not None else self.node
        recorder = (above.recorder if above is not None else self._recorder).derive(
            agent_id=agent_id,
            agent_name=name,
            actor=f"agent:{name}",
            parent_agent_id=above.agent_id if above is not None else None,
            depth=above.depth + 1 if above is not None else 0,
            parent_span_id=(above.recorder if above else self._recorder).context.get("span_id"),
            span_id=span_id(),
        )
        if over is not None:
            self._book(over, recorder)
        agent = Agent(
            agent_id,
            name,
            above.depth + 1 if above is not None else 0,
            over.open(name, self._per_agent) if over is not None else None,
            recorder,
            StepContext(recorder, self._run_id, agent_id),
        )
        fields: dict[str, Any] = {
            "op": "invoke_agent",
            "attrs": {"client": self.name, "client_agent": caller.agent},
        }
        if agent.node is not None:
            fields |= {"budget_id": agent.node.node_id, "budget_unit": "tokens"}
            if self._per_agent.tokens is not None:
                fields["budget_limit"] = self._per_agent.tokens
        recorder.write([recorder.event("agent.started", fields)])
        if self.on_agent is not None:
            self.on_agent(agent)
        return agent

    def _book(self, node: BudgetNode, recorder: Recorder) -> None:
        """Book one agent with the ledger."""
        answer = node.reserve(Amount(agents=1))
        if isinstance(answer, Busy):  # agents are booked at once, so nothing is in flight for long
            answer = Refused(answer.node, answer.unit, answer.asked, answer.left)
        if isinstance(answer, Refused):
            record_refusal(recorder, answer)
            raise refusal(answer)
        answer.settle(Amount(agents=1))

    def end(self, status: str = "ok") -> None:
        """End the agents that are not ours, the last one first, and record it."""
        for agent in reversed(self._agents.values()):
            if agent.node is not None:
                agent.node.close()
            fields = {
                "op": "invoke_agent",
                "status": status,
                "duration_ns": int((monotonic() - agent.started) * 1e9),
                "attrs": {
                    "outcome": "answered" if status == "ok" else status,
                    "tokens": agent.tokens,
                    "doubtful_tokens": agent.doubtful_tokens,
                    "requests": agent.used.requests,
                    "refused": agent.refused,
                },
            }
            agent.recorder.write([agent.recorder.event("agent.ended", fields)])

"""One model call of a client, from its request to its bill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
from sashizu_core.errors import BudgetRefused
from sashizu_core.protocols import BudgetNode
from sashizu_core.turn.attempts import ProviderGate
from sashizu_core.turn.inference import Inference, Ledger
from sashizu_core.types import Message, ModelInfo, ModelRequest

from sashizu_gateway.asgi import Incoming
from sashizu_gateway.bounding import Measure, measured
from sashizu_gateway.clients import Agent, Client
from sashizu_gateway.dialects.dialect import Dialect, Rules
from sashizu_gateway.dialects.refusals import RequestRefused
from sashizu_gateway.forwarding import Forwarded, Outgoing, Relayed
from sashizu_gateway.settings import GatewaySettings
from sashizu_gateway.upstream import Upstream

__all__ = ["Call", "along", "make_call", "rules_of"]

BUSY_AGAIN_S = 10
"""Seconds after which a call is worth another attempt for which there was no room."""

MOST_TOLD = 50
"""Names of what was left out of a request that are told; the client chooses them."""

MOST_RECORDED = 200
"""Names of what was left out of an agent's requests that are recorded."""

_ALONG = frozenset(
    {
        *("anthropic-beta", "anthropic-version", "idempotency-key", "openai-beta", "originator"),
        *("session-id", "session_id", "thread-id", "user-agent", "x-app"),
        *("x-client-request-id", "x-openai-subagent"),
    }
)
_ALONG_PREFIXES = ("x-codex-", "x-claude-code-", "x-stainless-")
"""Headers that mean something to the services; none of them authorizes anything."""


@dataclass(frozen=True, slots=True)
class Call:
    """Who asks, in which dialect, for whose answer."""

    request: Incoming
    dialect: Dialect
    upstream: Upstream
    client: Client
    agent: Agent
    settings: GatewaySettings


def along(request: Incoming) -> dict[str, str]:
    """The headers of a client that go to the service."""
    return request.forwarded(_ALONG, _ALONG_PREFIXES)


async def make_call(call: Call, body: dict[str, Any]) -> None:
    """Reserve, send, pass the answer on, and settle.

    Raises:
        RequestRefused: it goes no further, and nothing was answered yet.
        RecordError: the record cannot be written.
    """
    dialect, upstream, agent = call.dialect, call.upstream, call.agent
    rules = rules_of(agent.node, upstream)
    info = _info(call, body["model"], rules)
    removed = dialect.restrict(body, rules)[:MOST_TOLD]
    choices, cap = dialect.choices(body), _cap(call, body)
    measure = measured(
        body,
        dialect,
        rules,
        upstream.overhead,
        call.client.prefixes,
        upstream=upstream.target.base_url,
    )
    keeps_text = agent.recorder.keeps_content
    outgoing = Outgoing(
        dialect,
        body,
        along(call.request),
        measure,
        choices=choices,
        hides_usage=dialect.tell_usage(body),
        keeps_text=keeps_text,
    )
    await _record_removed(agent, dialect, removed)
    own = [("x-sashizu-removed", ", ".join(removed))] if removed else []
    least = min(call.settings.min_output_tokens, cap) * choices
    model = Forwarded(
        replace(info, min_output_tokens=least),
        upstream,
        outgoing,
        call.request.way_back(own),
        call.client.prefixes,
    )
    told = _told(measure) if keeps_text else ()
    await _made(call, model, outgoing, ModelRequest(told, (), cap * choices))


async def _made(call: Call, model: Forwarded, outgoing: Outgoing, asked: ModelRequest) -> None:
    """Make the call as our own agents make theirs: reserved, recorded, settled."""
    client, agent = call.client, call.agent
    ledger = None
    if client.budget is not None and agent.node is not None:
        ledger = Ledger(client.budget, agent.node)
    inference = Inference(model, agent.steps, ProviderGate(), ledger)
    waiting = anyio.CancelScope(deadline=anyio.current_time() + call.settings.wait_s)

    def sent() -> None:
        waiting.deadline = float("inf")

    outgoing.on_sent = sent
    try:
        with waiting:
            await inference.complete(asked)
    except BudgetRefused as error:
        raise RequestRefused("budget", str(error)) from error
    except Relayed as error:
        if not model.answered:
            raise RequestRefused("unreachable", str(error), retry_after_s=1) from error
    finally:
        agent.used += inference.used
        agent.doubtful_tokens += inference.doubtful_tokens
        agent.recorder.flush()
    if waiting.cancelled_caught:
        raise _no_room(call)


def _no_room(call: Call) -> RequestRefused:
    """Nobody gave back enough in time; on record, as every call that was not made."""
    agent, seconds = call.agent, call.settings.wait_s
    fields: dict[str, Any] = {"status": "denied", "attrs": {"waited_s": seconds}}
    if agent.node is not None:
        fields["budget_id"] = agent.node.node_id
    agent.recorder.write([agent.recorder.event("budget.refused", fields)])
    return RequestRefused(
        "busy",
        f"no room in the budget within {seconds:g} s: it is held by calls that are going on",
        retry_after_s=BUSY_AGAIN_S,
    )


# --- what bounds it -------------------------------------------------------------------------------


def rules_of(node: BudgetNode | None, upstream: Upstream) -> Rules:
    """What has to hold for a request, as its budget has it."""
    priced = node is not None and node.limited("nusd")
    return Rules(
        counted=priced or (node is not None and node.limited("tokens")),
        priced=priced,
        image_tokens=upstream.target.table.image_tokens,
    )


def _cap(call: Call, body: dict[str, Any]) -> int:
    """The output of one answer that may be asked for at most, in tokens."""
    asked = call.dialect.cap(body) or call.settings.max_output_tokens
    most = call.upstream.target.table.max_output_tokens
    return asked if most is None else min(asked, most)


def _info(call: Call, model: str, rules: Rules) -> ModelInfo:
    """What is known of a model.

    Raises:
        RequestRefused: money is limited, and nobody knows its price.
    """
    table, dialect = call.upstream.target.table, call.dialect
    info = ModelInfo(
        name=f"{dialect.provider}/{model}",
        provider=dialect.provider,
        endpoint=call.upstream.target.base_url,
        context_window=table.context_window,
        max_output_tokens=table.max_output_tokens,
        local=table.local,
        counts=call.upstream.counts and dialect.count_path is not None,
    )
    budget = call.client.budget
    if rules.priced and budget is not None and budget.price_of(info) is None:
        raise RequestRefused(
            "budget",
            f"no price is known for {info.name!r}, so a limit in USD cannot be kept: give one "
            f'under [budget.prices."{info.name}"], or limit tokens instead',
        )
    return info


# --- what is recorded of it -----------------------------------------------------------------------


async def _record_removed(agent: Agent, dialect: Dialect, removed: Sequence[str]) -> None:
    """Put on record, once for an agent, what is left out of its requests."""
    new = [name for name in dict.fromkeys(removed) if name not in agent.removed]
    if not new or len(agent.removed) >= MOST_RECORDED:
        return
    agent.removed.update(new)
    fields = {
        "op": "chat",
        "severity": "info",
        "category": "gateway",
        "tool": ", ".join(new)[:200],
        "decision": "deny",
        "decided_by": "policy",
        "decision_reason": "left out of requests: the provider would do it at an unknown cost",
        "attrs": {"dialect": dialect.name, "removed": new},
    }
    await agent.recorder.record([agent.recorder.event("security.denied", fields)])


def _told(measure: Measure) -> tuple[Message, ...]:
    """What the model is told for the first time."""
    fresh = measure.items[len(measure.items) - measure.fresh :]
    return tuple(Message("user", item.decode("utf-8", "replace")) for item in fresh)

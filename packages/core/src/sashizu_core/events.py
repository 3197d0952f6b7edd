"""What is recorded: the kinds of event, their columns, and which of them wait for the disk.

An event is a kind and a mapping from column to value. Columns are a closed set, because they become
the columns of the audit; whatever has no column of its own goes into `attrs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["COLUMNS", "DURABLE_KINDS", "KINDS", "Event"]

KINDS: Mapping[str, str] = {
    "run.planned": "somebody was shown what a run may cost, before anything was spent",
    "run.confirmed": "the answer: status says whether the run goes on, attrs who said so",
    "run.started": "a user's request begins",
    "run.ended": "all agents of the run have ended",
    "agent.started": "an agent instance begins its task",
    "agent.ended": "an agent instance has ended, also when it was cancelled",
    "model.requested": "a model call is about to be made; written before it is sent",
    "model.answered": "a model call came back",
    "model.failed": "an attempt at a model call failed",
    "tool.requested": "a model asked for a tool call",
    "tool.decided": "the permission engine answered; written before an allowed tool runs",
    "tool.ended": "a tool call came back, failed or was cancelled",
    "budget.held": "a reservation was made",
    "budget.settled": "a hold was booked at what was billed, or in full where that is in doubt",
    "budget.released": "a hold was given back: nothing was sent",
    "budget.refused": "a reservation did not fit, so the call was not made",
    "budget.overrun": "a provider billed more than the hold",
    "budget.degraded": "an agent was told to wrap up, or went on with its fallback model; or a "
    "window of spend was nearly used up when the run began",
    "budget.rebalanced": "an unspent share went to a sibling",
    "security.denied": "an action outside the effective permission was refused",
    "security.sandbox": "what holds the programs of a run, or what it stopped",
    "security.suspicious": "something looks like an attack",
    "policy.changed": "rules changed",
    "config.changed": "settings changed, or an agent was made or saved",
    "device.sampled": "a device was measured",
    "admission.decided": "the admission controller answered",
    "writer.opened": "a process began to write",
    "writer.closed": "a process ended its segment in good order",
    "writer.spawned": "a child writer is about to be started",
    "writer.child_closed": "a child writer ended; carries its last hash",
    "writer.recovered": "a segment of a dead writer was taken over",
    "writer.clock_stepped": "the wall clock jumped against the monotonic clock",
    "audit.queried": "somebody asked the record",
    "audit.exported": "somebody took a copy of the record",
    "audit.sealed": "segments became immutable",
    "audit.checkpointed": "the head of the log was signed",
    "audit.pruned": "old days were dropped",
    "audit.redacted": "content was removed",
    "audit.quota": "the store came close to its size limit",
    "audit.disabled": "somebody switched the record off",
}
"""Every kind and when it is written. Past tense: they are hashed into the chain."""

_DURABLE_PREFIXES = ("security.", "policy.", "run.", "audit.")
_DURABLE_SINGLES = frozenset({"writer.opened", "writer.closed", "budget.overrun"})

DURABLE_KINDS: frozenset[str] = frozenset(
    kind for kind in KINDS if kind.startswith(_DURABLE_PREFIXES) or kind in _DURABLE_SINGLES
)
"""Kinds that wait for the disk whatever the step."""

COLUMNS: Mapping[str, str] = {
    # set by the sink
    "v": "USMALLINT",
    "event_id": "UUID",
    "ts_ns": "BIGINT",
    "mono_ns": "BIGINT",
    "writer_id": "VARCHAR",
    "seq": "UBIGINT",
    "kind": "VARCHAR",
    "h": "VARCHAR",
    # who and where
    "op": "VARCHAR",
    "project": "VARCHAR",
    "actor": "VARCHAR",
    "run_id": "UUID",
    "conversation_id": "VARCHAR",
    "agent_id": "UUID",
    "parent_agent_id": "UUID",
    "agent_name": "VARCHAR",
    "depth": "USMALLINT",
    "step": "UINTEGER",
    "step_kind": "VARCHAR",
    "trace_id": "VARCHAR",
    "span_id": "VARCHAR",
    "parent_span_id": "VARCHAR",
    "replay_of": "UUID",
    # outcome
    "status": "VARCHAR",
    "error_type": "VARCHAR",
    "duration_ns": "BIGINT",
    "ttft_ns": "BIGINT",
    # model
    "provider": "VARCHAR",
    "model": "VARCHAR",
    "model_used": "VARCHAR",
    "response_id": "VARCHAR",
    "finish_reason": "VARCHAR",
    "input_tokens": "BIGINT",
    "output_tokens": "BIGINT",
    "cache_read_tokens": "BIGINT",
    "cache_write_tokens": "BIGINT",
    "reasoning_tokens": "BIGINT",
    "tokens": "BIGINT",
    "cost_nusd": "BIGINT",
    "price_ref": "VARCHAR",
    # tool
    "tool": "VARCHAR",
    "tool_type": "VARCHAR",
    "tool_call_id": "VARCHAR",
    "mcp_server": "VARCHAR",
    "mcp_method": "VARCHAR",
    "decision": "VARCHAR",
    "decided_by": "VARCHAR",
    "decision_rule": "VARCHAR",
    "decision_reason": "VARCHAR",
    "policy_sha256": "VARCHAR",
    "args_sha256": "VARCHAR",
    "result_sha256": "VARCHAR",
    # budget
    "budget_id": "VARCHAR",
    "budget_unit": "VARCHAR",
    "budget_limit": "BIGINT",
    "budget_held": "BIGINT",
    "budget_spent": "BIGINT",
    # security
    "severity": "VARCHAR",
    "category": "VARCHAR",
    # artifact
    "path": "VARCHAR",
    "sha256": "VARCHAR",
    "bytes": "BIGINT",
    # payload
    "redactions": "USMALLINT",
    "blobs": "VARCHAR[]",
    "attrs": "JSON",
}
"""Column to DuckDB type. `*_ns` are nanoseconds, `*_nusd` 10⁻⁹ USD, the rest counts.

`replay_of` is the run whose recorded outcome an event repeats: nothing was done for it, and nothing
was paid.
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One record. `fields` maps columns (but those that the sink sets) to values that are not None.

    Identifiers are their canonical text, digests lower-case hexadecimal, `attrs` a mapping of JSON
    values.
    """

    kind: str
    fields: Mapping[str, object]

    @property
    def durable(self) -> bool:
        return self.kind in DURABLE_KINDS

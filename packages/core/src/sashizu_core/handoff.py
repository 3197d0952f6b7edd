"""What travels from an agent to a child in another process, and the lease that it lives on.

Only the lease's id and the trace travel. All else lies in the ledger's row of that id, where the
giver wrote it: a child that changes its environment finds no lease, and never a wider one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from sashizu_core.errors import UsageError
from sashizu_core.grants import Grants, Rule
from sashizu_core.ids import AgentId, RunId
from sashizu_core.protocols import Budget, BudgetNode, Busy, Refused
from sashizu_core.types import Amount, Limits

__all__ = [
    "LEASE_META",
    "LEASE_VARIABLE",
    "TRACE_VARIABLE",
    "Handoff",
    "Lease",
    "Leased",
    "LeasingBudget",
    "Received",
    "grants_from",
    "hand_off",
    "plain_grants",
]

LEASE_VARIABLE = "SASHIZU_LEASE"
TRACE_VARIABLE = "TRACEPARENT"
LEASE_META = "sashizu/lease"
TRACE_META = "traceparent"

_LEASE_ID = re.compile(r"[0-9a-f]{32}")


class Lease(Protocol):
    """The giver's side of a share that another process draws on."""

    @property
    def lease_id(self) -> str:
        """128 bits as 32 hexadecimal digits; whoever knows them can spend: never record them."""
        ...

    def settle(self) -> Amount:
        """Take the share back; returns what it cost, booked where the share was reserved.

        What a process drew and did not give back is charged in full, whether it lives or not; it
        can draw no more, nor can those to whom it gave shares. Settling twice changes nothing.
        """
        ...


@dataclass(frozen=True, slots=True)
class Leased:
    """What the process gets that has a lease's id.

    `depth` is how many further levels of leases may come below it, `expires_at` when it ends, in
    Unix seconds, None for never; `terms` is what the giver wrote.
    """

    node: BudgetNode
    terms: str
    depth: int
    expires_at: float | None


@runtime_checkable
class LeasingBudget(Budget, Protocol):
    """A ledger whose shares other processes of this machine can draw on."""

    def lease(
        self,
        node: BudgetNode,
        name: str,
        limits: Limits,
        *,
        depth: int = 0,
        expires_at: float | None = None,
        terms: str = "",
    ) -> Lease | Busy | Refused:
        """Reserve a share at a node and make a row for it.

        Every unit that is limited at the node has to be limited in `limits`. Below another lease
        `depth` and `expires_at` are cut to what that one allows.

        Raises:
            UsageError: a limit is missing.
            SpawnRefused: the lease that the node lives on allows no further level.
        """
        ...

    def redeem(self, lease_id: str) -> Leased:
        """Draw on a lease from now on, beside all others that have its id.

        Raises:
            UsageError: there is none, it has ended, or who gave it is gone.
        """
        ...


@dataclass(frozen=True, slots=True)
class Handoff:
    """Everything a child agent instance gets from above: never wider than its parent.

    `agent_id` is the instance that the child belongs to, empty where it belongs to the run alone;
    `depth` is how many agents are above it, -1 for the run, `depth_left` how many levels may come
    below. `ceiling` are the grants of all ancestors, outermost first. `deadline` is in Unix
    seconds, None for none; `traceparent` is W3C. `folder` is where the artifacts of the instance
    and of those below it go, relative to the workspace. `recorded` says that whatever happens below
    has to be on record. `audit_parent` is what `EventSink.child_handoff` said. `lease_id` is empty
    until `hand_off`.
    """

    run_id: RunId
    agent_id: AgentId
    parent_agent_id: AgentId | None
    depth: int
    ceiling: tuple[Grants, ...]
    deadline: float | None
    traceparent: str
    depth_left: int = 0
    folder: str = ""
    recorded: bool = False
    audit_parent: Mapping[str, str] = field(default_factory=dict)
    lease_id: str = field(default="", repr=False)

    def to_env(self) -> dict[str, str]:
        """The variables that a child process needs, and nothing else.

        Raises:
            UsageError: it has no lease.
        """
        return {LEASE_VARIABLE: self._lease(), TRACE_VARIABLE: self.traceparent}

    def to_meta(self) -> dict[str, str]:
        """The same as `_meta` of a request of the Model Context Protocol.

        Raises:
            UsageError: it has no lease.
        """
        return {LEASE_META: self._lease(), TRACE_META: self.traceparent}

    @classmethod
    def from_env(cls, env: Mapping[str, str], budget: Budget | None) -> Received | None:
        """What an environment hands over; None where it hands over nothing.

        Raises:
            UsageError: it names a lease that cannot be redeemed.
        """
        return cls._from(env.get(LEASE_VARIABLE, ""), env.get(TRACE_VARIABLE, ""), budget)

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any], budget: Budget | None) -> Received | None:
        """What the `_meta` of a request hands over; None where it hands over nothing.

        Raises:
            UsageError: it names a lease that cannot be redeemed.
        """
        lease_id, trace = meta.get(LEASE_META, ""), meta.get(TRACE_META, "")
        return cls._from(lease_id, trace if isinstance(trace, str) else "", budget)

    @classmethod
    def _from(cls, lease_id: object, trace: str, budget: Budget | None) -> Received | None:
        if lease_id == "":
            return None
        if not isinstance(lease_id, str) or not _LEASE_ID.fullmatch(lease_id):
            raise UsageError("what names a lease is none: it has 32 hexadecimal digits")
        if not isinstance(budget, LeasingBudget):
            raise UsageError(
                "a lease was handed over, and no ledger here can redeem it: "
                "install the package 'sashizu-budget'"
            )
        leased = budget.redeem(lease_id)
        handoff = replace(
            _read(leased.terms),
            lease_id=lease_id,
            depth_left=leased.depth,
            deadline=leased.expires_at,
        )
        # Spans in between may have gone on with the trace; it decides over nothing.
        return Received(replace(handoff, traceparent=trace or handoff.traceparent), leased.node)

    def _lease(self) -> str:
        if not self.lease_id:
            raise UsageError("a handoff to another process needs a lease")
        return self.lease_id


@dataclass(frozen=True, slots=True)
class Received:
    """A handoff that arrived, and the node that everything of the child is reserved at.

    `hosted` says that the instance itself is at work here, and not only agents below it.
    """

    handoff: Handoff
    node: BudgetNode
    hosted: bool = False


def hand_off(
    handoff: Handoff, budget: Budget | None, node: BudgetNode | None, name: str, limits: Limits
) -> tuple[Handoff, Lease] | Busy | Refused:
    """Give a child process its share: the handoff with its lease, and what settles it.

    Raises:
        UsageError: the ledger cannot lease, or a limit is missing.
        SpawnRefused: no further level is allowed.
    """
    if node is None or not isinstance(budget, LeasingBudget):
        raise UsageError(
            "an agent in a process of its own needs a ledger with leases: "
            "install the package 'sashizu-budget'"
        )
    lease = budget.lease(
        node,
        name,
        limits,
        depth=handoff.depth_left,
        expires_at=handoff.deadline,
        terms=_written(handoff),
    )
    if isinstance(lease, Busy | Refused):
        return lease
    return replace(handoff, lease_id=lease.lease_id), lease


# --- the terms in the row -------------------------------------------------------------------------


def _written(handoff: Handoff) -> str:
    """A handoff as JSON, without its lease."""
    values = asdict(replace(handoff, lease_id=""))
    values["ceiling"] = [plain_grants(grants) for grants in handoff.ceiling]
    return json.dumps(values, ensure_ascii=False, sort_keys=True)


def plain_grants(grants: Grants) -> dict[str, Any]:
    """Grants as JSON values."""
    values = asdict(grants)
    for name, value in values.items():
        if isinstance(value, frozenset):
            values[name] = sorted(value)
    return values


def _read(terms: str) -> Handoff:
    try:
        values = json.loads(terms)
        ceiling = tuple(grants_from(level) for level in values.pop("ceiling"))
        return Handoff(**values, ceiling=ceiling)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            "the lease says nothing of who gave it: it was made by another version"
        ) from error


def grants_from(values: Mapping[str, Any]) -> Grants:
    """The grants of such values."""
    values = dict(values)
    rules = tuple(Rule(**rule) for rule in values.pop("rules"))
    sets = {"tools", "spawn", "devices", "silent_on"}
    made: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, list):
            made[name] = frozenset(value) if name in sets else tuple(value)
        else:
            made[name] = value
    return Grants(**made, rules=rules)

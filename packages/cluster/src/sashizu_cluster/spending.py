"""The budget of all machines, as rows of PostgreSQL.

A process draws a chunk of a node and reserves from it in memory, through the ledger of the process;
or a step reserves and settles in its own transaction. Either way a hold counts on every level.
"""

from __future__ import annotations

import json
from time import monotonic, time_ns
from uuid import UUID, uuid4

import psycopg
from sashizu_core.drawing import NEVER_NS, Four, Shortage
from sashizu_core.protocols import Busy, Refused
from sashizu_core.types import UNITS, Amount, BudgetState, Limits, SpendWindow

from sashizu_cluster.database import Database, Row
from sashizu_cluster.errors import ClusterError

__all__ = ["ChunkSource", "SharedHold", "SharedSpend"]

_NONE: Four = (0, 0, 0, 0)

_BOUNDS = ("seconds", "depth", "agents_alive", "spawn_rate")
"""Limits that are not counted; they are kept beside the others."""

LOOKS_S = 0.05
"""How old what a process only tells of the rows may be, in seconds."""

KEEPS_S = 1.0
"""How long a process that has just begun to be idle keeps what it drew, in seconds."""


class SharedSpend:
    """The rows of one tenant, for one owner: whoever is charged when it dies. Thread-safe; blocks.

    Every method raises `DatabaseGone` where the server does not answer, and `ClusterError` where it
    refuses. `connection` makes a change part of somebody's transaction: it holds with that, and
    only then. Reserve at most once in one transaction, or two of them may wait for each other.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self.owner = owner

    # --- nodes ------------------------------------------------------------------------------------

    def organisation(self) -> str:
        """The node above all runs of the tenant."""
        return str(self._database.row("SELECT sashizu.spend_organisation()", again=True)[0])

    def open(self, node_id: str, name: str, limits: Limits, *, parent: str = "") -> str:
        """Make a node, beneath the organisation where no parent is given; returns its id.

        A node that is there already stays as it is: an agent that starts once more has the limits
        and the spending of before.

        Raises:
            ClusterError: the parent is unknown, or the node is at another place.
        """
        counted = [getattr(limits, unit) for unit in UNITS]
        bounds = {name: getattr(limits, name) for name in _BOUNDS}
        self._database.rows(
            "SELECT sashizu.spend_open(%s, %s, %s, %s::bigint[], %s)",
            (UUID(node_id), UUID(parent) if parent else None, name, counted, json.dumps(bounds)),
            again=True,
        )
        return node_id

    def close(self, node_id: str) -> int:
        """End a node and all below it; how many holds were charged in full."""
        return int(
            self._database.row("SELECT sashizu.spend_close(%s)", (UUID(node_id),), again=True)[0]
        )

    def state(self, node_id: str) -> BudgetState:
        """How a node stands now, on all machines."""
        stand = Stand.of(self._database, node_id)
        return BudgetState(
            node_id,
            stand.name,
            stand.limits,
            Amount(*stand.spent),
            Amount(*stand.held),
            Amount(*stand.over),
        )

    def take_over(self, owner: str) -> int:
        """Charge in full all that an owner holds who is gone; how many holds that were.

        Call it before work goes on in its place: what was sent and not settled is in doubt.
        """
        return int(
            self._database.row("SELECT sashizu.spend_take_over(%s)", (owner,), again=True)[0]
        )

    # --- holds of steps ---------------------------------------------------------------------------

    def reserve(
        self,
        hold_id: str,
        node_id: str,
        amount: Amount,
        *,
        connection: psycopg.Connection | None = None,
    ) -> SharedHold | Busy | Refused:
        """Reserve on every level above a node, or on none.

        `hold_id` is the step's key and attempt: asking again gives the same hold, open or ended.
        """
        asked = _four(amount)
        row = self._database.row(
            "SELECT * FROM sashizu.spend_reserve(%s, %s, %s, %s::bigint[])",
            (hold_id, UUID(node_id), self.owner, list(asked)),
            connection=connection,
            again=True,
        )
        short = _short(row, asked)
        if short is None:
            return SharedHold(self, hold_id, Amount(*(row[1] or _NONE)), str(row[0]))
        unit = UNITS[short.unit]
        if short.final:
            return Refused(short.name, unit, asked[short.unit], short.left, closed=short.ended)
        return Busy(short.name, unit, asked[short.unit], short.left)

    def end(
        self,
        hold_id: str,
        state: str,
        bill: Amount | None,
        connection: psycopg.Connection | None,
    ) -> Amount:
        """Replace a hold by what it cost; see `SharedHold`."""
        row = self._database.row(
            "SELECT sashizu.spend_settle(%s, %s, %s::bigint[])",
            (hold_id, state, None if bill is None else list(_four(bill))),
            connection=connection,
            again=True,
        )
        return Amount(*row[0])

    # --- chunks -----------------------------------------------------------------------------------

    def source(self, node_id: str) -> ChunkSource:
        """Something to draw from, for the ledger of this process; see `DrawingBudget`."""
        stand = Stand.of(self._database, node_id)
        chunk = str(uuid4())
        self._database.row(
            "SELECT * FROM sashizu.spend_reserve(%s, %s, %s, %s::bigint[])",
            (chunk, UUID(node_id), self.owner, list(_NONE)),
            again=True,
        )
        return ChunkSource(self._database, node_id, chunk, stand)


class SharedHold:
    """A hold of a step. `state` is `held`, or how it ended before: settled, released or charged.

    Ending it twice changes nothing.
    """

    __slots__ = ("_spend", "amount", "hold_id", "state")

    def __init__(self, spend: SharedSpend, hold_id: str, amount: Amount, state: str) -> None:
        self._spend = spend
        self.hold_id = hold_id
        self.amount = amount
        self.state = state

    def settle(self, actual: Amount, *, connection: psycopg.Connection | None = None) -> Amount:
        """Book what was billed; returns by how much it exceeds the hold.

        Raises:
            ValueError: a quantity is below zero.
        """
        return self._spend.end(self.hold_id, "settled", actual, connection)

    def charge(self, *, connection: psycopg.Connection | None = None) -> None:
        """Book the hold in full."""
        self._spend.end(self.hold_id, "charged", None, connection)

    def release(self, *, connection: psycopg.Connection | None = None) -> None:
        """Give the hold back."""
        self._spend.end(self.hold_id, "released", Amount(), connection)


class Stand:
    """How a node stands: its own numbers, and the least of each on its path."""

    __slots__ = ("closed", "free", "held", "hopeful", "limits", "name", "over", "spent", "tightest")

    def __init__(self, row: Row) -> None:
        name, limits, bounds, held, spent, over, closed, tightest, free, hopeful = row
        self.name = str(name)
        self.limits = Limits(**dict(zip(UNITS, limits, strict=True)), **bounds)
        self.held, self.spent, self.over = (_as_four(one) for one in (held, spent, over))
        self.closed = bool(closed)
        self.tightest: list[int | None] = tightest
        self.free: list[int | None] = free
        self.hopeful: list[int | None] = hopeful

    @classmethod
    def of(cls, database: Database, node_id: str) -> Stand:
        found = database.rows("SELECT * FROM sashizu.spend_stand(%s)", (UUID(node_id),), again=True)
        if not found:
            raise ClusterError(
                f"there is no budget node {node_id}: its run was forgotten, or is another tenant's"
            )
        return cls(found[0])


class ChunkSource:
    """A chunk of a node as something to draw from; see `sashizu_core.drawing.Source`.

    It says to the rows all that was spent of the chunk, and all that it goes on holding, each time:
    a call whose answer was lost books nothing twice.
    """

    keeps_s = KEEPS_S
    now_ns = staticmethod(time_ns)
    until_ns = NEVER_NS

    def __init__(self, database: Database, node_id: str, chunk: str, stand: Stand) -> None:
        self._database = database
        self._node_id = node_id
        self._chunk = chunk
        self._spent: Four = _NONE
        self._held: Four = _NONE
        self._seen = stand
        self._seen_until = 0.0
        self.name = stand.name
        self.limits = stand.limits
        self.drawn_units = [limit is not None for limit in stand.tightest]

    def draw(
        self, spent: Four, back: Four, need: Four, asked: Four
    ) -> tuple[Four, Four] | Shortage:
        self._seen_until = 0.0
        total = _plus(self._spent, spent)
        keep = _less(self._held, _plus(spent, back))
        row = self._database.row(
            "SELECT * FROM sashizu.spend_draw("
            "%s, %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])",
            (self._chunk, list(total), list(keep), list(need), list(asked)),
            again=True,
        )
        short = _short(row, asked)
        if short is not None and short.ended:
            return short
        self._spent, self._held = total, keep
        if short is not None:
            return short
        drawn = _as_four(row[1])
        self._held = _plus(keep, drawn)
        return drawn, _as_four(row[2])

    def book(self, spent: Four, back: Four) -> bool:
        found = self.draw(spent, back, _NONE, _NONE)
        return not isinstance(found, Shortage)

    def leave(self, spent: Four) -> None:
        if self.book(spent, self._held):
            self._database.row(
                "SELECT sashizu.spend_settle(%s, 'settled', '{0,0,0,0}')",
                (self._chunk,),
                again=True,
            )

    def hopeless(self, asked: Four, unbooked: Four, free: Four) -> Shortage | None:  # noqa: ARG002
        stand = Stand.of(self._database, self._node_id)
        for i, wanted in enumerate(asked):
            most = stand.hopeful[i]
            if most is not None and wanted > most - unbooked[i]:
                return Shortage(i, max(0, stand.free[i] or 0), final=True, ended=stand.closed)
        return None

    def more(self, unit: int) -> int:
        if monotonic() >= self._seen_until:
            self._seen = Stand.of(self._database, self._node_id)
            self._seen_until = monotonic() + LOOKS_S
        return 0 if self._seen.closed else max(0, self._seen.free[unit] or 0)

    def windows(self, unbooked: Four, free: Four) -> tuple[SpendWindow, ...]:  # noqa: ARG002
        """None: the limits of the organisation last until its owner changes them."""
        return ()


def _short(row: Row, asked: Four) -> Shortage | None:
    outcome, _, _, unit, free, name = row
    if outcome not in ("ended", "refused", "busy"):
        return None
    first = next((i for i, wanted in enumerate(asked) if wanted), 0)
    return Shortage(
        first if unit is None else unit,
        int(free),
        final=outcome != "busy",
        ended=outcome == "ended",
        name=name or "",
    )


def _four(amount: Amount) -> Four:
    found = (amount.tokens, amount.nusd, amount.requests, amount.agents)
    if min(found) < 0:
        raise ValueError(f"amounts are never below zero: {amount}")
    return found


def _as_four(values: list[int]) -> Four:
    tokens, nusd, requests, agents = values
    return tokens, nusd, requests, agents


def _plus(one: Four, other: Four) -> Four:
    return _as_four([a + b for a, b in zip(one, other, strict=True)])


def _less(one: Four, other: Four) -> Four:
    return _as_four([max(0, a - b) for a, b in zip(one, other, strict=True)])

"""Shares of a budget that other processes draw on.

The giver holds the share in its own ledger. Whoever redeems the lease has a tree of nodes whose
root is as large as what it has drawn: it reserves from that in memory, and draws again when it is
too small. What it drew is on disk before it is reserved from, so that a process that dies cannot
have spent more than what it is charged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from time import time_ns

from sashizu_core.drawing import NEVER_NS, Shortage
from sashizu_core.errors import UsageError
from sashizu_core.handoff import Leased
from sashizu_core.protocols import BudgetNode, Busy, Hold, Refused
from sashizu_core.types import UNITS, Amount, Limits, SpendWindow

from sashizu_budget.drawing import DrawingNode
from sashizu_budget.drawn import Drawn
from sashizu_budget.nodes import Node
from sashizu_budget.spend_rows import LeaseRow
from sashizu_budget.spend_store import SpendStore
from sashizu_budget.units import Four

__all__ = ["GivenLease", "LeaseSource", "LeasedNode", "give_lease", "redeem_lease"]

BOUNDS = ("seconds", "depth", "agents_alive", "spawn_rate")
"""Limits that are not counted; they travel with the lease."""


class GivenLease:
    """The giver's side of a lease; see `Lease`."""

    def __init__(self, store: SpendStore, lease_id: str, node: BudgetNode, hold: Hold) -> None:
        self._store = store
        self._node = node
        self._hold = hold
        self._booked = False
        self.lease_id = lease_id

    def settle(self) -> Amount:
        """End the lease, and book what it cost where it was reserved."""
        row = self._store.settle(self.lease_id)
        pairs = list(zip(row.spent, row.limits, strict=True))
        bounded = Amount(*(0 if limit is None else spent for spent, limit in pairs))
        free = Amount(*(spent if limit is None else 0 for spent, limit in pairs))
        self._hold.settle(bounded)
        self._book(free)
        return Amount(*row.spent)

    def _book(self, free: Amount) -> None:
        """Book what no limit bounds, and nothing was held for."""
        if not self._booked and free != Amount():
            if isinstance(self._node, Node | DrawingNode):
                self._node.go_first()  # it was spent already: nobody may be waited for
            hold = self._node.reserve(free)
            if not isinstance(hold, Busy | Refused):
                hold.settle(free)
        self._booked = True


def give_lease(
    store: SpendStore,
    node: BudgetNode,
    name: str,
    limits: Limits,
    *,
    depth: int,
    expires_at: float | None,
    terms: str,
) -> GivenLease | Busy | Refused:
    """Reserve a share at a node and make its row; see `LeasingBudget.lease`."""
    given = [getattr(limits, unit) for unit in UNITS]
    for unit, limit in zip(UNITS, given, strict=True):
        if limit is None and node.limited(unit):
            raise UsageError(
                f"the share {name!r} needs a limit of {unit}: where it is taken from has one"
            )
    hold = node.reserve(Amount(*(limit or 0 for limit in given)))
    if isinstance(hold, Busy | Refused):
        return hold
    lease_id = os.urandom(16).hex()
    try:
        store.give(
            lease_id,
            name,
            given,
            parent=node.lease_id if isinstance(node, LeasedNode) else None,
            depth=depth,
            expires_ns=None if expires_at is None else int(expires_at * 10**9),
            terms=terms,
            bounds=json.dumps({name: getattr(limits, name) for name in BOUNDS}),
        )
    except BaseException:
        hold.release()
        raise
    return GivenLease(store, lease_id, node, hold)


def redeem_lease(store: SpendStore, lease_id: str) -> Leased:
    """Draw on a lease from now on; see `LeasingBudget.redeem`."""
    row, chunk = store.redeem(lease_id)
    drawn = Drawn(LeaseSource(store, row, chunk))
    expires_at = None if row.expires_ns is None else row.expires_ns / 10**9
    return Leased(LeasedNode(drawn, drawn.top, row.lease_id), row.terms, row.depth, expires_at)


class LeaseSource:
    """A lease as something to draw from; see `Source`."""

    keeps_s = 0.0
    now_ns = staticmethod(time_ns)
    until_ns = NEVER_NS

    def __init__(self, store: SpendStore, row: LeaseRow, chunk: int) -> None:
        self._store = store
        self.row = row
        self._chunk = chunk
        self.drawn_units = [limit is not None for limit in row.limits]

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def limits(self) -> Limits:
        tokens, nusd, requests, agents = self.row.limits
        bounds = json.loads(self.row.bounds)
        return Limits(tokens=tokens, nusd=nusd, requests=requests, agents=agents, **bounds)

    def draw(
        self,
        spent: Four,
        back: Four,  # noqa: ARG002 - a lease does not start anew
        need: Four,
        asked: Four,
    ) -> tuple[Four, Four] | Shortage:
        return self._store.draw(self.row.lease_id, self._chunk, spent, need, asked)

    def book(self, spent: Four, back: Four) -> bool:
        return self._store.book(self.row.lease_id, self._chunk, spent, back)

    def leave(self, spent: Four) -> None:
        self._store.leave(self.row.lease_id, self._chunk, spent)

    def hopeless(
        self,
        asked: Four,
        unbooked: Four,
        free: Four,  # noqa: ARG002 - the row knows no others that would be told
    ) -> Shortage | None:
        row = self._store.row(self.row.lease_id)
        for i, wanted in enumerate(asked):
            limit, left = row.limits[i], row.left(i)
            if limit is not None and wanted > limit - row.spent[i] - unbooked[i]:
                return Shortage(i, left or 0, final=True, ended=row.ended)
        return None

    def windows(self, unbooked: Four, free: Four) -> Sequence[SpendWindow]:  # noqa: ARG002
        """None: they stand above who gave the lease, and the whole of it is held there."""
        return ()

    def more(self, unit: int) -> int:
        return self._store.row(self.row.lease_id).left(unit) or 0


class LeasedNode(DrawingNode):
    """A node of the tree below a redeemed lease; see `BudgetNode`. Thread-safe."""

    def __init__(self, drawn: Drawn, node: Node, lease_id: str) -> None:
        super().__init__(drawn, node)
        self.lease_id = lease_id

    def open(self, name: str, limits: Limits) -> LeasedNode:
        """Make a child."""
        return LeasedNode(self._drawn, self._node.open(name, limits), self.lease_id)

"""Shares of a budget that other processes draw on.

The giver holds the share in its own ledger. Whoever redeems the lease has a tree of nodes whose
root is as large as what it has drawn: it reserves from that in memory, and draws again when it is
too small. What it drew is on disk before it is reserved from, so that a process that dies cannot
have spent more than what it is charged.
"""

from __future__ import annotations

import json
import os

from anyio.lowlevel import checkpoint_if_cancelled
from sashizu_core.errors import BudgetRefused, UsageError
from sashizu_core.handoff import Leased
from sashizu_core.protocols import BudgetNode, Busy, Hold, Refused
from sashizu_core.types import UNITS, Amount, BudgetState, Limits

from sashizu_budget.drawn import Drawn, Waiting
from sashizu_budget.holds import LedgerHold
from sashizu_budget.nodes import Node
from sashizu_budget.spend_store import Shortage, SpendStore
from sashizu_budget.units import Four, first_asked, four, index_of

__all__ = ["GivenLease", "LeasedNode", "give_lease", "redeem_lease"]

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
    drawn = Drawn(store, row, chunk)
    expires_at = None if row.expires_ns is None else row.expires_ns / 10**9
    return Leased(LeasedNode(drawn, drawn.root), row.terms, row.depth, expires_at)


class LeasedNode:
    """A node of the tree below a redeemed lease; see `BudgetNode`. Thread-safe."""

    def __init__(self, drawn: Drawn, node: Node) -> None:
        self._drawn = drawn
        self._node = node
        self._my_turn = False

    @property
    def node_id(self) -> str:
        return self._node.node_id

    @property
    def name(self) -> str:
        return self._node.name

    @property
    def lease_id(self) -> str:
        """The lease that it lives on."""
        return self._drawn.row.lease_id

    def open(self, name: str, limits: Limits) -> LeasedNode:
        """Make a child."""
        return LeasedNode(self._drawn, self._node.open(name, limits))

    def reserve(self, amount: Amount) -> Hold | Busy | Refused:
        """Reserve on every level up to the lease, drawing on it where that is needed."""
        asked = four(amount)
        drawn, node = self._drawn, self._node
        turn, self._my_turn = self._my_turn, False
        with node._lock:
            if (answer := self._below(asked)) is not None:
                return answer
            if not turn and any(each.holds_up(asked, node._path) for each in drawn.line):
                return self._busy(asked)
            short = drawn.top_up(asked)
        if short is not None:
            return self._answer(asked, short)
        found = node.reserve(amount)
        return LeasedHold(found, drawn) if isinstance(found, LedgerHold) else found

    def _below(self, asked: Four) -> Busy | Refused | None:
        """What the levels below the lease, and a closed root, have against an amount."""
        node = self._node
        if self._drawn.root._shut:
            unit = first_asked(asked)
            return Refused(self._drawn.root.name, UNITS[unit], asked[unit], 0, closed=True)
        busy: Busy | None = None
        for level in node._path[:-1]:
            found = level._obstacle_here(asked, node._turn)
            answer = found.answer() if found is not None else None
            if isinstance(answer, Refused):
                return answer
            busy = busy or answer
        if busy is not None and (short := self._drawn.hopeless(asked)) is not None:
            return self._answer(asked, short)
        return busy

    def _answer(self, asked: Four, short: Shortage) -> Busy | Refused:
        name, unit = self._drawn.root.name, UNITS[short.unit]
        left = short.left + self._free(short.unit)
        if short.final:
            left = 0 if short.ended else left
            return Refused(name, unit, asked[short.unit], left, closed=short.ended)
        return Busy(name, unit, asked[short.unit], left)

    def _busy(self, asked: Four) -> Busy:
        unit = first_asked(asked)
        left = self.left(UNITS[unit])
        return Busy(self._drawn.root.name, UNITS[unit], asked[unit], left or 0)

    def _free(self, unit: int) -> int:
        root = self._drawn.root
        return max(0, root._ceiling[unit] - root._taken[unit])

    async def room(self, amount: Amount) -> None:
        """Wait until `reserve` may succeed; who waits for other processes asks again and again.

        Raises:
            BudgetRefused: it can not fit any more.
        """
        asked = four(amount)
        waiting = Waiting(asked, self._drawn.root)
        line = self._drawn.line
        with self._node._lock:
            line.append(waiting)
        try:
            while True:
                answer = self._look(waiting)
                if answer is None:
                    break
                if isinstance(answer, Refused):
                    raise BudgetRefused(
                        answer.node, answer.unit, answer.asked, answer.left, answer.closed
                    )
                await waiting.called()
        finally:
            with self._node._lock:
                line.remove(waiting)
            self._drawn.wake()
        self._my_turn = True
        await checkpoint_if_cancelled()

    def _look(self, waiting: Waiting) -> Busy | Refused | None:
        """What is in the way now of somebody in the line; None for nothing."""
        with self._node._lock:
            waiting.at = self._drawn.root
            for level in self._node._path[:-1]:
                if level._obstacle_here(waiting.asked, self._node._turn) is not None:
                    waiting.at = level
                    break
            if (answer := self._below(waiting.asked)) is not None:
                return answer
            for other in self._drawn.line:
                if other is waiting:
                    break
                if other.holds_up(waiting.asked, self._node._path):
                    return self._busy(waiting.asked)
            short = self._drawn.top_up(waiting.asked)
        return None if short is None else self._answer(waiting.asked, short)

    def left(self, unit: str) -> int | None:
        """The most that could be reserved now, what can still be drawn included.

        Raises:
            ValueError: there is no such unit.
        """
        i = index_of(unit)
        drawn, node = self._drawn, self._node
        if any(level._shut for level in node._path):
            return 0
        lefts = [
            limit - level._taken[i]
            for level in node._path[:-1]
            if (limit := getattr(level._limits, unit)) is not None
        ]
        if drawn.row.limits[i] is not None:
            more = drawn.store.row(drawn.row.lease_id).left(i)
            lefts.append(self._free(i) + (more or 0))
        return max(0, min(lefts)) if lefts else None

    def limited(self, unit: str) -> bool:
        """Whether this node, an ancestor or the lease limits the unit."""
        return self._node.limited(unit)

    def state(self) -> BudgetState:
        """The node as it is in this process; of the root, with the limits of the lease."""
        return self._shown(self._node.state())

    def close(self) -> BudgetState:
        """End the node. Closing the root gives back what is left of the lease."""
        state = self._node.close()
        with self._node._lock:
            if self._node is self._drawn.root:
                self._drawn.leave()
            else:
                self._drawn.trim()
        self._drawn.wake()
        return self._shown(state)

    def _shown(self, state: BudgetState) -> BudgetState:
        if self._node is not self._drawn.root:
            return state
        return BudgetState(
            state.node_id, state.name, self._drawn.limits, state.spent, state.held, state.overrun
        )


class LeasedHold:
    """A hold below a lease."""

    __slots__ = ("_drawn", "_hold")

    def __init__(self, hold: LedgerHold, drawn: Drawn) -> None:
        self._hold = hold
        self._drawn = drawn

    @property
    def amount(self) -> Amount:
        return self._hold.amount

    def settle(self, actual: Amount) -> Amount:
        """Book what was billed; an excess is in the row before anything else is done."""
        over = self._hold.settle(actual)
        with self._drawn.root._lock:
            if over != Amount() and not self._drawn.left:
                self._drawn.book()
            else:
                self._drawn.trim()
        self._drawn.wake()
        return over

    def charge(self) -> None:
        """Book the hold in full."""
        self._hold.charge()
        self._trim()

    def release(self) -> None:
        """Give the hold back."""
        self._hold.release()
        self._trim()

    def _trim(self) -> None:
        with self._drawn.root._lock:
            self._drawn.trim()
        self._drawn.wake()

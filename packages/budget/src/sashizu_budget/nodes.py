"""The tree of the ledger: nodes, what is held at them, and who waits for room.

Every node counts in four units (`UNITS`), as lists of four whole numbers:

- `ceiling`: the limits; a unit without a limit has one that nothing reaches
- `taken`: what is spent or held, here and below
- `held`: what is held, here and below
- `excess`: by how much bills exceeded their holds, here and below

Sums are kept on every level, so that an operation costs one pass along the path to the root. One
lock per tree guards all of it; nothing is awaited, and nobody else's code runs, while it is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock

from anyio.lowlevel import checkpoint_if_cancelled
from sashizu_core.errors import BudgetRefused
from sashizu_core.ids import uuid7
from sashizu_core.protocols import Busy, Refused
from sashizu_core.types import UNITS, Amount, BudgetState, Limits

from sashizu_budget.holds import NO_EXCESS, LedgerHold
from sashizu_budget.units import ENDLESS, Four, ceilings, first_asked, four, index_of
from sashizu_budget.waiting import Obstacle, Queue, Waiter

__all__ = ["Node"]

FIRST = -1
"""The ticket that nobody has an earlier one than."""

LATER = 1 << 100
"""The ticket of somebody who does not wait yet: behind everybody who does."""


class Tree:
    """What the nodes of one tree share."""

    __slots__ = ("lock", "next_ticket", "waiters")

    def __init__(self) -> None:
        self.lock = Lock()
        self.next_ticket = 0
        self.waiters: set[Waiter] = set()


class Node:
    """One level of the ledger; thread-safe.

    `name` appears in refusals, `node_id` in records; `holding` makes the holds of the whole tree.
    """

    __slots__ = (
        "_ceiling",
        "_children",
        "_excess",
        "_held",
        "_holding",
        "_holds",
        "_limits",
        "_lock",
        "_path",
        "_queue",
        "_shut",
        "_taken",
        "_tree",
        "_turn",
        "_waiting",
        "name",
        "node_id",
    )

    def __init__(
        self,
        name: str,
        limits: Limits,
        parent: Node | None = None,
        *,
        holding: Callable[[Node, Amount, Four], LedgerHold] = LedgerHold,
    ) -> None:
        self.node_id = uuid7()
        self.name = name
        self._limits = limits
        self._ceiling = ceilings(limits)
        self._taken = [0, 0, 0, 0]
        self._held = [0, 0, 0, 0]
        self._excess = [0, 0, 0, 0]
        self._holds: set[LedgerHold] = set()
        self._children: dict[str, Node] = {}
        self._queue = Queue()
        self._waiting = self._queue.waiters
        self._holding: Callable[[Node, Amount, Four], LedgerHold] = (
            holding if parent is None else parent._holding
        )
        self._shut = False
        self._turn = LATER
        self._tree: Tree = Tree() if parent is None else parent._tree
        self._lock = self._tree.lock
        self._path: tuple[Node, ...] = (self,) if parent is None else (self, *parent._path)

    def open(self, name: str, limits: Limits) -> Node:
        """Make a child.

        Raises:
            ValueError: a limit is below zero.
        """
        child = Node(name, limits, self)
        with self._lock:
            self._children[child.node_id] = child
        return child

    # --- reserving --------------------------------------------------------------------------------

    def go_first(self) -> None:
        """Let the next reservation go before those who wait."""
        self._turn = FIRST

    def reserve(self, amount: Amount) -> LedgerHold | Busy | Refused:
        """Reserve on every level from here to the root, or on none.

        Raises:
            ValueError: a quantity is below zero.
        """
        asked = tokens, nusd, requests, agents = four(amount)
        with self._lock:
            for node in self._path:
                taken, ceiling = node._taken, node._ceiling
                if (
                    taken[0] + tokens > ceiling[0]
                    or taken[1] + nusd > ceiling[1]
                    or taken[2] + requests > ceiling[2]
                    or (agents and taken[3] + agents > ceiling[3])
                    or node._waiting
                    or node._shut
                ):
                    obstacle = self._obstacle(asked, self._turn)
                    if obstacle is not None:
                        return obstacle.answer()
                    break
            self._turn = LATER
            for node in self._path:
                taken, held = node._taken, node._held
                taken[0] += tokens
                taken[1] += nusd
                taken[2] += requests
                held[0] += tokens
                held[1] += nusd
                held[2] += requests
                if agents:  # few calls start any
                    taken[3] += agents
                    held[3] += agents
            hold = self._holding(self, amount, asked)
            self._holds.add(hold)
            return hold

    def _obstacle(self, asked: Four, ticket: int) -> Obstacle | None:
        """What is in the way of an amount; a refusal by any level before a wait at any."""
        busy: Obstacle | None = None
        for node in self._path:
            found = node._obstacle_here(asked, ticket)
            if found is not None and found.final:
                return found
            busy = busy or found
        return busy

    def _obstacle_here(self, asked: Four, ticket: int) -> Obstacle | None:
        unit = first_asked(asked)
        if self._shut:
            return Obstacle(
                self._queue, self.name, UNITS[unit], asked[unit], 0, final=True, closed=True
            )
        busy: Obstacle | None = None
        for i, wanted in enumerate(asked):
            left = self._ceiling[i] - self._taken[i]
            if wanted > max(left, 0):
                final = wanted > left + self._held[i]
                found = Obstacle(
                    self._queue, self.name, UNITS[i], wanted, max(left, 0), final=final
                )
                if final:
                    return found
                busy = busy or found
        queue = self._queue
        held_up = queue.shares(asked) if ticket == LATER else queue.has_before(ticket)
        if busy is None and held_up and asked[unit]:
            left = max(self._ceiling[unit] - self._taken[unit], 0)
            busy = Obstacle(self._queue, self.name, UNITS[unit], asked[unit], left, final=False)
        return busy

    # --- ending holds -----------------------------------------------------------------------------

    def _end(self, hold: LedgerHold, asked: Four, booked: Four) -> Amount:
        with self._lock:
            if hold not in self._holds:
                return NO_EXCESS
            return self._book(hold, asked, booked)

    def _book(self, hold: LedgerHold, asked: Four, booked: Four) -> Amount:
        """Replace an open hold by what was billed. The lock is taken."""
        self._holds.remove(hold)
        tokens, nusd, requests, agents = asked
        more_tokens = booked[0] - tokens
        more_nusd = booked[1] - nusd
        more_requests = booked[2] - requests
        more_agents = booked[3] - agents
        others = more_requests or more_agents or agents
        waited = False
        for node in self._path:
            taken, held = node._taken, node._held
            taken[0] += more_tokens
            taken[1] += more_nusd
            held[0] -= tokens
            held[1] -= nusd
            held[2] -= requests
            if others:  # most bills say of these what was held
                taken[2] += more_requests
                taken[3] += more_agents
                held[3] -= agents
            if node._waiting:
                waited = True
        over = NO_EXCESS
        if more_tokens > 0 or more_nusd > 0 or more_requests > 0 or more_agents > 0:
            over = self._overrun((more_tokens, more_nusd, more_requests, more_agents))
        if waited:
            for node in self._path:
                node._queue.advance()
        return over

    def _overrun(self, more: Four) -> Amount:
        """Count an excess, and close the path up to the topmost node that limits its unit."""
        over = [max(0, quantity) for quantity in more]
        closing = 0
        for depth, node in enumerate(self._path):
            for i, quantity in enumerate(over):
                node._excess[i] += quantity
                if quantity and node._ceiling[i] < ENDLESS:
                    closing = depth + 1
        for node in self._path[:closing]:
            node._shut = True
        if closing:
            self._path[closing - 1]._wake_all()
        return Amount(*over)

    def close(self) -> BudgetState:
        """End the node: no further holds; those still open, here and below, are charged in full."""
        with self._lock:
            for node in self._subtree():
                for hold in tuple(node._holds):
                    node._book(hold, hold._asked, hold._asked)
            self._shut = True
            if len(self._path) > 1:
                self._path[1]._children.pop(self.node_id, None)
            self._wake_all()
            return self._state()

    def _subtree(self) -> Iterator[Node]:
        todo = [self]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(node._children.values())

    # --- waiting ----------------------------------------------------------------------------------

    async def room(self, amount: Amount) -> None:
        """Wait, first come first served, until `reserve` may succeed; then try again.

        The turn belongs to the next `reserve` at this node: make it before awaiting anything else.

        Raises:
            BudgetRefused: it can not fit any more.
            ValueError: a quantity is below zero.
        """
        asked = four(amount)
        waiter = self._line_up(asked)
        if waiter is None:
            await checkpoint_if_cancelled()
            return
        try:
            while True:
                await waiter.called()
                if self._may_go(waiter, asked):
                    return
        finally:
            with self._lock:
                self._tree.waiters.discard(waiter)
                waiter.move_to(None)

    def _line_up(self, asked: Four) -> Waiter | None:
        """Take a place where the amount does not fit; None when nothing is in its way."""
        with self._lock:
            obstacle = self._obstacle(asked, self._turn)
            if obstacle is None:
                return None
            if obstacle.final:
                raise _refusal(obstacle)
            tree = self._tree
            ticket, self._turn = self._turn, LATER
            if ticket == LATER:
                ticket = tree.next_ticket
                tree.next_ticket += 1
            waiter = Waiter(ticket, asked, lambda ticket: self._obstacle(asked, ticket))
            tree.waiters.add(waiter)
            waiter.wait_at(obstacle.queue)
            return waiter

    def _may_go(self, waiter: Waiter, asked: Four) -> bool:
        """Look again after a call: another thread may have been faster."""
        with self._lock:
            obstacle = self._obstacle(asked, waiter.ticket)
            if obstacle is None:
                self._turn = waiter.ticket
                return True
            if obstacle.final:
                raise _refusal(obstacle)
            waiter.wait_at(obstacle.queue)
            return False

    def _wake_all(self) -> None:
        """Let everybody who waits here or below look again."""
        for waiter in self._tree.waiters:
            waiter.call()

    # --- looking ----------------------------------------------------------------------------------

    def left(self, unit: str) -> int | None:
        """The most that could be reserved now, the whole path considered; None without limits.

        Raises:
            ValueError: there is no such unit.
        """
        i = index_of(unit)
        with self._lock:
            if any(node._shut for node in self._path):
                return 0
            lefts = [
                node._ceiling[i] - node._taken[i]
                for node in self._path
                if node._ceiling[i] < ENDLESS
            ]
        return max(0, min(lefts)) if lefts else None

    def limited(self, unit: str) -> bool:
        """Whether this node or an ancestor limits the unit.

        Raises:
            ValueError: there is no such unit.
        """
        i = index_of(unit)
        return any(node._ceiling[i] < ENDLESS for node in self._path)

    def state(self) -> BudgetState:
        with self._lock:
            return self._state()

    def _state(self) -> BudgetState:
        spent = (taken - held for taken, held in zip(self._taken, self._held, strict=True))
        return BudgetState(
            node_id=self.node_id,
            name=self.name,
            limits=self._limits,
            spent=Amount(*spent),
            held=Amount(*self._held),
            overrun=Amount(*self._excess),
        )


def _refusal(obstacle: Obstacle) -> BudgetRefused:
    return BudgetRefused(
        obstacle.name, obstacle.unit, obstacle.asked, obstacle.left, obstacle.closed
    )

"""Moving an unspent share from one node to a sibling."""

from __future__ import annotations

from dataclasses import replace

from sashizu_core.protocols import BudgetNode
from sashizu_core.types import UNITS, Amount

from sashizu_budget.drawing import DrawingNode
from sashizu_budget.nodes import Node
from sashizu_budget.units import ENDLESS, Four, four

__all__ = ["shift"]


def shift(giver: BudgetNode, taker: BudgetNode, amount: Amount) -> Amount:
    """Lower one node's limits and raise a sibling's by as much; see `ShiftingBudget`."""
    source, target = _node(giver), _node(taker)
    asked = four(amount)
    beneath = source._path[1:]
    if source is target or not beneath or target._path[1:] != beneath:
        raise ValueError(f"{target.name!r} is no sibling of {source.name!r}: only they share")
    with source._lock:
        if target._shut:
            return Amount()
        moved = _moved(source, target, asked)
        for node, sign in ((source, -1), (target, 1)):
            _change(node, tuple(sign * quantity for quantity in moved))
            node._queue.advance()
    if isinstance(taker, DrawingNode):
        taker._drawn.wake()
    return Amount(*moved)


def _node(node: BudgetNode) -> Node:
    found = node._node if isinstance(node, DrawingNode) else node
    if not isinstance(found, Node):
        raise ValueError(f"{node.name!r} is no node of this ledger")  # noqa: TRY004 - as promised
    return found


def _moved(source: Node, target: Node, asked: Four) -> list[int]:
    """How much of each unit moves: what the one has left, where both have a limit."""
    return [
        min(wanted, max(0, source._ceiling[i] - source._taken[i]))
        if source._ceiling[i] < ENDLESS and target._ceiling[i] < ENDLESS
        else 0
        for i, wanted in enumerate(asked)
    ]


def _change(node: Node, change: tuple[int, ...]) -> None:
    """Change the limits of a node. The lock is taken."""
    tokens, nusd, requests, agents = (a + b for a, b in zip(node._ceiling, change, strict=True))
    node._ceiling = (tokens, nusd, requests, agents)
    limited = {unit: node._ceiling[i] for i, unit in enumerate(UNITS) if node._ceiling[i] < ENDLESS}
    node._limits = replace(node._limits, **limited)

"""What an agent instance has for the time when its budget runs low."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

from sashizu_core.protocols import BudgetNode
from sashizu_core.runtime.plan import AgentPlan
from sashizu_core.turn.degrading import Degradation, Fallback
from sashizu_core.turn.inference import Inference
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.shares import Share
from sashizu_core.turn.standing import Clock, Standing
from sashizu_core.turn.windows import spent_before

if TYPE_CHECKING:
    from sashizu_core.runtime.run_parts import RunParts

__all__ = ["degradation_of", "share_of"]


def share_of(
    parts: RunParts,
    above: BudgetNode | None,
    node: BudgetNode | None,
    recorder: Recorder,
    idle: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
) -> Share | None:
    """An agent's part in what its siblings leave; None where nothing is passed on.

    `node` is its own, beneath `above`; `idle` gives its place up while it waits for more.
    """
    if parts.pools is None or above is None or node is None:
        return None
    return parts.pools.join(above, node, recorder, idle)


def degradation_of(
    plan: AgentPlan,
    parts: RunParts,
    inference: Inference,
    recorder: Recorder,
    stands: tuple[tuple[BudgetNode, ...], Callable[[], float]],
) -> Degradation:
    """What is done before an agent's budget ends.

    `stands` are its nodes of the ledger, its own first, and what tells when its own time ends.
    """
    nodes, ends = stands

    def clocks() -> list[Clock]:
        """The deadlines that it works under: the run's, and its own."""
        run = parts.handle.clock
        found = [Clock("run", *run)] if run is not None else []
        if (seconds := plan.deadline_s) is not None:
            found.append(Clock(plan.name, ends() - seconds, ends()))
        return found

    own, fallback = plan.definition.budget, None
    if plan.fallback is not None:
        model = parts.models[plan.fallback]
        fallback = Fallback(model, parts.gate(model), own.fallback_at)
    warn_at = own.warn_at or parts.warn_at
    standing = Standing(nodes, clocks, spent_before(parts.windows))
    return Degradation(standing, inference, recorder, warn_at, fallback)

"""Room for a model call in the ledger of an agent, before the call is made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

from sashizu_core.errors import BudgetRefused
from sashizu_core.events import Event
from sashizu_core.protocols import Budget, BudgetNode, Busy, Hold, Model, Refused
from sashizu_core.turn.counting import provider_count
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.shares import Share
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import Bound, ModelRequest

__all__ = ["Ledger", "Reserving", "record_refusal", "refusal"]


def refusal(answer: Refused) -> BudgetRefused:
    """What to raise for it."""
    return BudgetRefused(
        answer.node, answer.unit, answer.asked, answer.left, answer.closed, answer.remedy
    )


def record_refusal(recorder: Recorder, answer: Refused) -> None:
    """Record that something was not begun because it does not fit."""
    fields = {
        "status": "denied",
        "budget_id": answer.node,
        "budget_unit": answer.unit,
        "budget_held": answer.asked,
        "attrs": {"left": answer.left, "closed": answer.closed},
    }
    recorder.write([recorder.event("budget.refused", fields)])


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger and the node that an agent's calls are reserved at.

    `share` is what brings the node more where siblings leave some; None where nothing does.
    """

    budget: Budget
    node: BudgetNode
    share: Share | None = None


@dataclass(frozen=True, slots=True)
class Reserving:
    """Reserves one call of a model; `on_count` hears when its provider is asked to count first."""

    model: Model
    steps: StepContext
    ledger: Ledger
    on_count: Callable[[], None]

    async def hold(self, request: ModelRequest, bound: Bound) -> tuple[Bound, Hold]:
        """Reserve the worst case; wait for room; then count; then shrink; then refuse.

        Returns what the call is bounded by now, and the hold for it.

        Raises:
            BudgetRefused: the worst case does not fit, however small the output.
        """
        info, ledger = self.model.info, self.ledger
        counted, whole = False, bound
        while True:
            answer = await self._room_for(bound)
            if not isinstance(answer, Refused):
                return bound, answer
            if not counted:
                counted = True
                self.steps.recorder.flush()
                if (tokens := await self._count(request)) is not None:
                    tokens = min(tokens, bound.input_tokens)
                    bound = whole = Bound(tokens, bound.output_tokens, "provider's count")
                    continue
            smaller = ledger.budget.shrink(ledger.node, info, bound)
            if smaller is not None and smaller.output_tokens < bound.output_tokens:
                bound = smaller
                continue
            least = min(bound.output_tokens, info.min_output_tokens)
            bound = replace(bound, output_tokens=least, rule=f"{bound.rule}, least output")
            last = await self._room_for(bound)
            if isinstance(last, Refused):
                if await self._more(last, bound):
                    bound = whole
                    continue
                record_refusal(self.steps.recorder, answer)
                raise refusal(answer)
            return bound, last

    def held(self, seq: int, bound: Bound, hold: Hold) -> Event:
        """What the record says of a hold, before the call of that number is made."""
        return self.steps.recorder.event(
            "budget.held",
            {
                "step": seq,
                "budget_id": self.ledger.node.node_id,
                "budget_unit": "tokens",
                "budget_held": hold.amount.tokens,
                "attrs": {
                    "nusd": hold.amount.nusd,
                    "output_cap": bound.output_tokens,
                    "rule": bound.rule,
                },
            },
        )

    async def _count(self, request: ModelRequest) -> int | None:
        node = self.ledger.node
        return await provider_count(self.model, self.steps, node, request, self.on_count)

    async def _room_for(self, bound: Bound) -> Hold | Refused:
        """Reserve, waiting as long as calls in flight may still come in below their holds."""
        info, ledger, share = self.model.info, self.ledger, self.ledger.share
        amount = ledger.budget.quote(info, bound)
        while True:
            answer = ledger.node.reserve(amount)
            if not isinstance(answer, Busy | Refused):
                return answer
            own = share if answer.node == ledger.node.name else None
            if own is not None:
                least = ledger.budget.quote(info, bound.with_output(info.min_output_tokens))
                if own.draw(amount, least):
                    continue
            if isinstance(answer, Refused):
                return answer
            self.steps.recorder.flush()
            try:
                with own.asking(amount) if own is not None else nullcontext():
                    await ledger.node.room(amount)
            except BudgetRefused as error:
                return Refused(
                    error.node, error.unit, error.asked, error.left, error.closed, error.remedy
                )

    async def _more(self, refused: Refused, bound: Bound) -> bool:
        """Wait for what siblings leave; False where the agent's own limit is not what refuses."""
        ledger = self.ledger
        if ledger.share is None or refused.closed or refused.node != ledger.node.name:
            return False
        self.steps.recorder.flush()
        return await ledger.share.more(ledger.budget.quote(self.model.info, bound))

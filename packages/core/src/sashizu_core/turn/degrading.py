"""What becomes of an agent before its budget ends: it is told to wrap up, and goes on for less."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sashizu_core.errors import Fault, ModelError
from sashizu_core.prompt import aside
from sashizu_core.protocols import Model
from sashizu_core.turn.attempts import ProviderGate
from sashizu_core.turn.inference import Inference
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.standing import Standing, Used
from sashizu_core.types import Message, ModelInfo, ModelRequest

__all__ = ["LAST_NOTE", "NOTE_BYTES", "Degradation", "Fallback", "least_effort"]

NOTE_BYTES = 512
"""The most bytes of what an agent is told of its budget."""

GONE: frozenset[Fault] = frozenset(
    {
        "connect",
        "transport",
        "timeout",
        "rate_limited",
        "quota",
        "overloaded",
        "auth",
        "not_found",
        "protocol",
    }
)
"""Faults that another model may not have: those of a provider, not of what was asked."""


def least_effort(info: ModelInfo) -> str | None:
    """The lowest reasoning effort that is worth having; None where the model knows none."""
    return "low" if "low" in info.efforts else next(iter(info.efforts), None)


@dataclass(frozen=True, slots=True)
class Fallback:
    """The model that goes on in place of an agent's own, open and priced.

    From the share `at` of a limit on, or where that is None only where the own model fails.
    """

    model: Model
    gate: ProviderGate
    at: float | None = None


@dataclass(slots=True)
class Degradation:
    """Watches the limits of one agent, and lowers what it does before they stop it.

    From the share `warn_at` of a limit on, the agent is told once; 1 tells it never.
    `effort` is what the calls that are made now are asked for.
    """

    standing: Standing
    inference: Inference
    recorder: Recorder
    warn_at: float = 1.0
    fallback: Fallback | None = None
    effort: str | None = None
    told: bool = field(default=False, init=False)
    _own: tuple[Model, ProviderGate, str | None] | None = field(default=None, init=False)
    _unproven: bool = field(default=False, init=False)

    @property
    def warns(self) -> bool:
        """Whether the agent is told before its budget ends."""
        return self.warn_at < 1

    # --- telling ----------------------------------------------------------------------------------

    def note(self, request: ModelRequest) -> Message | None:
        """What the agent has to be told before a request, once; None for nothing.

        It is told from `warn_at` on, and before that where the request would leave no room for
        another of its size: a hold is larger than its bill, so the budget refuses before it is used
        up.
        """
        if self._remembers():
            return self._noted_then()
        if self.told or not self.warns:
            return None
        used = self._nearest(self.warn_at)
        if used is None:
            return None
        why = "share" if used.share >= self.warn_at else ""
        if not why and not self._last_but_one(request):
            return None
        self.told = True
        left = self.standing.left()
        attrs = {"how": "warned", "why": why or "room", "share": round(used.share, 4)}
        text = _wrap_up(used if why else None, left)
        self._record(used, self.recorder.keep(text), {**attrs, "left": dict(left)})
        return aside(text)

    def _nearest(self, at: float) -> Used | None:
        """The limit that is nearest to its end, after siblings have helped out with theirs."""
        used = self.standing.nearest()
        ledger = self.inference.ledger
        if used is None or used.share < at or ledger is None or ledger.share is None:
            return used
        if used.node_id == ledger.node.node_id and ledger.share.ease(at):
            return self.standing.nearest()
        return used

    def _last_but_one(self, request: ModelRequest) -> bool:
        """Whether less than two calls are left that are as large as this one is at least.

        What is held for siblings is not counted: most of it comes back.
        """
        ledger = self.inference.ledger
        if ledger is None or request.previous is None:
            return False
        info = self.inference.model.info
        bound = self.inference.model.bound(request)
        least = ledger.budget.quote(info, bound.with_output(info.min_output_tokens))
        both = least + least
        if ledger.share is not None:
            ledger.share.draw(both, both, "warned")
        unspent = self.standing.unspent().items()
        return any(rest < getattr(both, unit) for unit, rest in unspent)

    # --- going on for less ------------------------------------------------------------------------

    def goes_on_for_less(self) -> bool:
        """Change to the fallback if enough is used up; says whether that was now."""
        fallback = self.fallback
        if fallback is None or fallback.at is None or self._own is not None:
            return False
        if self._remembers():
            return self._changed_then(fallback, "fallback", least_effort(fallback.model.info))
        used = self._nearest(fallback.at)
        if used is None or used.share < fallback.at:
            return False
        self._change(fallback, least_effort(fallback.model.info))
        self._unproven = True
        self._fell_back(used, {"why": "budget", "share": round(used.share, 4)})
        return True

    def replaces(self, error: ModelError) -> bool:
        """Change to the fallback because the own model has failed; says whether it did."""
        fallback = self.fallback
        if fallback is None or self.inference.model is fallback.model or error.fault not in GONE:
            return False
        if self._own is not None:  # it was tried, and did not fit
            return False
        if self._remembers():
            return self._changed_then(fallback, "fallback", None)
        self._change(fallback, None)
        self._fell_back(None, {"why": "provider", "fault": error.fault})
        return True

    def returns(self) -> bool:
        """Go back to the own model where the first call of the fallback does not fit."""
        if not self._unproven or self._own is None:
            return False
        if self._remembers() and not self._taken("returned"):
            return False
        self._unproven = False
        model, gate, self.effort = self._own
        self.inference.use(model, gate)
        info = model.info
        told = {"how": "returned", "why": "no room", "model": info.name}
        self._record(None, {"provider": info.provider, "model": info.name}, told)
        return True

    def proved(self) -> None:
        """A call was answered: whoever answers, stays."""
        self._unproven = False

    def _change(self, fallback: Fallback, effort: str | None) -> None:
        self._own = (self.inference.model, self.inference.gate, self.effort)
        self.effort = effort
        self.inference.use(fallback.model, fallback.gate)

    def _fell_back(self, used: Used | None, why: Mapping[str, Any]) -> None:
        assert self._own is not None
        info = self.inference.model.info
        attrs = {"how": "fallback", **why, "from": self._own[0].info.name}
        if self.effort is not None:
            attrs["effort"] = self.effort
        self._record(used, {"provider": info.provider, "model": info.name}, attrs)

    # --- what is on record already ----------------------------------------------------------------

    def _remembers(self) -> bool:
        """Whether what was done at this point is on record."""
        past = self.inference.past
        return past is not None and (past.strict or past.next_of_line() is not None)

    def _taken(self, how: str) -> Mapping[str, Any]:
        """What is recorded to have changed at this point; empty where that is nothing."""
        past = self.inference.past
        found = past.next_of_line() if past is not None else None
        if past is None or found is None or found[0] != "budget.degraded":
            return {}
        if (found[1].get("attrs") or {}).get("how") != how:
            return {}
        if how != "returned":  # which is recorded anew
            self.recorder.write(past.copies([found[1]], self.recorder))
        return past.take_of_line()

    def _noted_then(self) -> Message | None:
        event = self._taken("warned")
        past = self.inference.past
        if not event or past is None:
            return None
        self.told = True
        return aside(past.content(event))

    def _changed_then(self, fallback: Fallback, how: str, effort: str | None) -> bool:
        event = self._taken(how)
        if not event:
            return False
        self._change(fallback, effort)
        self._unproven = (event.get("attrs") or {}).get("why") == "budget"
        return True

    # --- the record -------------------------------------------------------------------------------

    def _record(
        self, used: Used | None, fields: Mapping[str, Any], attrs: Mapping[str, Any]
    ) -> None:
        told: dict[str, Any] = {**fields, "attrs": dict(attrs)}
        if used is not None:
            told |= {
                "budget_unit": used.unit,
                "budget_spent": int(used.spent),
                "budget_limit": int(used.limit),
            }
            if used.node_id:
                told["budget_id"] = used.node_id
            if used.window:
                told["attrs"]["window"] = used.name
        self.recorder.write([self.recorder.event("budget.degraded", told)])


LAST_NOTE = (
    "[budget] The budget has no room for another step. What tools answered was cut to make room "
    "for this one short answer: give what you have found, say what is missing, and call no tool."
)


def _wrap_up(used: Used | None, left: Mapping[str, int]) -> str:
    if used is None:
        first = "Less than two more calls of this size are left."
    else:
        unit = "USD" if used.unit == "nusd" else used.unit
        of = f"that were left of {used.name!r}" if used.window else f"of {used.name!r}"
        first = f"{used.share:.0%} of the {unit} {of} are used up."
    return (
        f"[budget] {first} Left: {_told(left)}. "
        "Wrap up now: begin nothing new, and give your final answer with what you have."
    )


def _told(left: Mapping[str, int]) -> str:
    parts = [
        f"{amount / 1e9:.4f} USD" if unit == "nusd" else f"{amount:,} {unit}"
        for unit, amount in left.items()
    ]
    return ", ".join(parts) or "nothing"

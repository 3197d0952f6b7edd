"""One model call of an agent: bounded, reserved, recorded, attempted, settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Any

import anyio
import anyio.lowlevel

from sashizu_core.errors import ModelError
from sashizu_core.events import Event
from sashizu_core.protocols import Model
from sashizu_core.redaction import LiveText
from sashizu_core.turn.attempts import ProviderGate, RetryPlan
from sashizu_core.turn.bills import Attempt, Bills
from sashizu_core.turn.model_outcomes import ModelOutcomes
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.recorded_answers import completion_of
from sashizu_core.turn.recorded_calls import RecordedCalls
from sashizu_core.turn.recorded_step import RecordedStep
from sashizu_core.turn.reserving import Ledger, Reserving, record_refusal, refusal
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import (
    Bound,
    Completion,
    ModelRequest,
    StepKind,
    Usage,
)

__all__ = ["Inference", "Ledger", "record_refusal", "refusal"]


class Inference:
    """Makes the model calls of one agent instance.

    `used` sums what was billed; `doubtful_tokens` are the holds of attempts that nobody billed.
    `answered_by` is the model that answered last.
    """

    __slots__ = (
        "_bills",
        "_fields",
        "_gate",
        "_ledger",
        "_model",
        "_recorded",
        "_steps",
        "_told",
        "answered_by",
    )

    def __init__(
        self, model: Model, steps: StepContext, gate: ProviderGate, ledger: Ledger | None
    ) -> None:
        self._model = model
        self._steps = steps
        self._gate = gate
        self._ledger = ledger
        self._fields = _fields_of(model)
        self._bills = Bills(steps.recorder, ledger)
        self._told = 0
        self.answered_by = model.info.name
        node = ledger.node if ledger is not None else None
        past = steps.past
        self._recorded = RecordedCalls(past, steps, node, self.book) if past is not None else None

    @property
    def used(self) -> Usage:
        return self._bills.used

    @property
    def doubtful_tokens(self) -> int:
        return self._bills.doubtful_tokens

    @property
    def model(self) -> Model:
        return self._model

    @property
    def past(self) -> AgentPast | None:
        """What its agent did before."""
        return self._steps.past

    @property
    def ledger(self) -> Ledger | None:
        """Where its calls are reserved."""
        return self._ledger

    @property
    def gate(self) -> ProviderGate:
        """Whom its calls wait with."""
        return self._gate

    def use(self, model: Model, gate: ProviderGate) -> None:
        """Make further calls with another model, which was told nothing so far."""
        self._model, self._gate = model, gate
        self._fields = _fields_of(model)

    def book(self, used: Usage, doubtful_tokens: int) -> None:
        """Count what was billed for the agent by calls that are not made here."""
        self._bills.add(used)
        self._bills.doubtful_tokens += doubtful_tokens

    async def complete(
        self, request: ModelRequest, *, on_text: Callable[[str], None] | None = None
    ) -> Completion:
        """Make attempts until one answers; each has a hold of its own.

        Raises:
            BudgetRefused: the worst case does not fit, however small the output.
            ModelError: the attempts are used up, or the fault is final.
        """
        plan: RetryPlan | None = None
        while True:
            calls = self._recorded
            if calls is not None and (known := calls.next()) is not None:
                try:
                    return self._counted(await self._repeated(calls.past, request, known))
                except ModelError:
                    if calls.tried_again() or calls.ended():
                        continue
                    raise
            self.answered_by = self._model.info.name
            if self._gate.closed:
                self._steps.recorder.flush()
                await self._gate.wait()
            # Each attempt has a place of its own: its server may be why the last one failed.
            async with self._placed():
                # Who was cancelled meanwhile reserves nothing, and records no call never sent.
                await anyio.lowlevel.checkpoint_if_cancelled()
                self._gate.requests += 1
                attempt = await self._reserve(request)
                try:
                    return self._counted(await self._attempt(attempt, on_text))
                except ModelError as error:
                    failed = error
            plan = plan or RetryPlan(self._gate)
            wait_s = plan.wait_s(failed)
            if wait_s is None or wait_s > _seconds_left():
                raise failed
            await anyio.sleep(wait_s)

    def _counted(self, completion: Completion) -> Completion:
        self._steps.carried_out("model", self.answered_by, completion.backend)
        return completion

    def _placed(self) -> AbstractAsyncContextManager[None]:
        """Wait until the model is loaded, where somebody loads it."""
        admission, past = self._gate.admission, self._steps.past
        if admission is None or (past is not None and past.strict):
            return nullcontext()
        self._steps.recorder.flush()
        agent = str(self._steps.recorder.context.get("agent_name", ""))
        return admission.place(self._model.info, self._admitted, agent)

    def _admitted(self, decision: Mapping[str, Any]) -> None:
        """Record what the admission controller decided, and from which numbers."""
        status = "denied" if decision.get("outcome") == "refused" else "ok"
        recorder = self._steps.recorder
        fields = {**self._fields, "status": status, "attrs": dict(decision)}
        recorder.write([recorder.event("admission.decided", fields)])

    # --- what is on record already ----------------------------------------------------------------

    async def _repeated(
        self, past: AgentPast, request: ModelRequest, known: RecordedStep
    ) -> Completion:
        """Take the outcome of a recorded attempt; what was booked for it is not booked again.

        Raises:
            ModelError: it failed then.
            Diverged: another request is recorded.
        """
        recorder, seq, bills = self._steps.recorder, known.seq, self._bills
        outcomes = self._outcomes()
        self._steps.go_on_at(seq + 1)
        self.answered_by = str(known.intent.get("model"))
        held = past.copies((e for e in known.before if e is not known.intent), recorder)
        intent = [*held, self._intent(seq, request, self._steps.take_seen())]
        attempt = Attempt(request, Bound(0, 0, ""), None, intent, seq)
        paid, booked = _paid(known.outcome), past.copies(known.after[1:], recorder)
        doubtful = bills.doubtful_tokens

        def outcome(
            completion: Completion | None, error: BaseException | None, took_ns: int
        ) -> Sequence[Event]:
            if completion is not None:
                return [*outcomes.answered(attempt, completion, took_ns, paid), *booked]
            assert error is not None
            return [*outcomes.failed(attempt, error, took_ns, paid)[:1], *booked]

        async def recall(step: RecordedStep) -> Completion:
            return completion_of(past, step)

        async def call() -> Completion:
            raise AssertionError("its outcome is on record")

        try:
            completion = await self._steps.step(StepKind.MODEL, intent, call, outcome, recall)
            if not past.anew(known):
                bills.add(completion.usage or Usage())
        except ModelError as error:
            if not past.anew(known):
                bills.add(error.usage or Usage())
            raise
        finally:
            bills.doubtful_tokens = doubtful
            settled = known.first("budget.settled")
            if (settled.get("attrs") or {}).get("in_doubt"):
                bills.doubtful_tokens += int(settled.get("budget_spent") or 0)
        return completion

    # --- one attempt ------------------------------------------------------------------------------

    async def _attempt(self, attempt: Attempt, on_text: Callable[[str], None] | None) -> Completion:
        model, redactor = self._model, self._steps.recorder.redactor
        outcomes = self._outcomes()

        async def call() -> Completion:
            live = LiveText(redactor, on_text) if on_text is not None else None
            try:
                shown = live.feed if live is not None else None
                return await model.complete(attempt.request, on_text=shown)
            except ModelError:
                raise
            except Exception as error:
                # A bug of an adapter ends this agent and no other.
                raise ModelError(
                    f"the adapter of {model.info.name!r} failed: {type(error).__name__}: {error}",
                    fault="invalid_request",
                    sent=True,
                ) from error
            finally:
                if live is not None:
                    live.close()

        def outcome(
            completion: Completion | None, error: BaseException | None, took_ns: int
        ) -> Sequence[Event]:
            if completion is not None:
                return outcomes.answered(attempt, completion, took_ns)
            assert error is not None
            return outcomes.failed(attempt, error, took_ns)

        return await self._steps.step(StepKind.MODEL, attempt.intent, call, outcome)

    def _outcomes(self) -> ModelOutcomes:
        return ModelOutcomes(self._model, self._fields, self._steps.recorder, self._bills)

    # --- before -----------------------------------------------------------------------------------

    async def _reserve(self, request: ModelRequest) -> Attempt:
        model, ledger = self._model, self._ledger
        bound = model.bound(request)
        if ledger is None:
            seq = self._steps.next_seq()
            intent = self._intent(seq, request, self._steps.take_seen())
            return Attempt(request, bound, None, [intent], seq)
        reserving = Reserving(model, self._steps, ledger, lambda: self._bills.add(Usage()))
        bound, hold = await reserving.hold(request, bound)
        seq = self._steps.next_seq()
        if bound.output_tokens != request.max_output_tokens:
            request = replace(request, max_output_tokens=bound.output_tokens)
        held = reserving.held(seq, bound, hold)
        intent = self._intent(seq, request, self._steps.take_seen())
        return Attempt(request, bound, hold, [held, intent], seq)

    def _intent(self, seq: int, request: ModelRequest, seen: list[int]) -> Event:
        fields: dict[str, Any] = {"step": seq, "step_kind": "model", **self._fields}
        fields |= self._prompts(request)
        if self._steps.recorder.keeps_content:
            fields["attrs"] = {"messages": len(request.messages), "seen": seen}
        return self._steps.recorder.event("model.requested", fields)

    def _prompts(self, request: ModelRequest) -> dict[str, Any]:
        """The columns that name what the model is told for the first time, where that is kept.

        Answers and results of tools are named by their own events.
        """
        recorder = self._steps.recorder
        if not recorder.keeps_content:
            return {}
        told, self._told = self._told, len(request.messages)
        fresh = [m for m in request.messages[told:] if m.role in ("system", "user")]
        return recorder.keep(*[message.content for message in fresh])


def _paid(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that tell the price of a recorded attempt."""
    paid = {name: recorded.get(name) for name in ("cost_nusd", "price_ref")}
    return {name: value for name, value in paid.items() if value is not None and value != ""}


def _fields_of(model: Model) -> dict[str, Any]:
    return {"op": "chat", "provider": model.info.provider, "model": model.info.name}


def _seconds_left() -> float:
    return anyio.current_effective_deadline() - anyio.current_time()

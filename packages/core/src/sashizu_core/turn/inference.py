"""One model call of an agent: bounded, reserved, recorded, attempted, settled."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.lowlevel

from sashizu_core.errors import BudgetRefused, ModelError
from sashizu_core.events import Event
from sashizu_core.protocols import Budget, BudgetNode, Busy, Hold, Model, Refused
from sashizu_core.redaction import LiveText
from sashizu_core.turn.attempts import ProviderGate, RetryPlan
from sashizu_core.turn.counting import provider_count
from sashizu_core.turn.past import AgentPast
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.recorded_answers import completion_of
from sashizu_core.turn.recorded_calls import RecordedCalls
from sashizu_core.turn.recorded_step import RecordedStep
from sashizu_core.turn.shares import Share
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import (
    Amount,
    Bound,
    Completion,
    ModelRequest,
    StepKind,
    Usage,
)

__all__ = ["Inference", "Ledger", "record_refusal", "refusal"]


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


@dataclass(slots=True)
class _Attempt:
    """What one attempt was allowed."""

    request: ModelRequest
    bound: Bound
    hold: Hold | None
    intent: Sequence[Event]
    seq: int


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
        "doubtful_tokens",
    )

    def __init__(
        self, model: Model, steps: StepContext, gate: ProviderGate, ledger: Ledger | None
    ) -> None:
        self._model = model
        self._steps = steps
        self._gate = gate
        self._ledger = ledger
        self._fields = _fields_of(model)
        self._bills: list[Usage] = []
        self.doubtful_tokens = 0
        self._told = 0
        self.answered_by = model.info.name
        node = ledger.node if ledger is not None else None
        past = steps.past
        self._recorded = RecordedCalls(past, steps, node, self.book) if past is not None else None

    @property
    def used(self) -> Usage:
        return sum(self._bills, Usage(requests=0))

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
        self._bills.append(used)
        self.doubtful_tokens += doubtful_tokens

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
                    return await self._repeated(calls.past, request, known)
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
                    return await self._attempt(attempt, on_text)
                except ModelError as error:
                    failed = error
            plan = plan or RetryPlan(self._gate)
            wait_s = plan.wait_s(failed)
            if wait_s is None or wait_s > _seconds_left():
                raise failed
            await anyio.sleep(wait_s)

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
        recorder, seq = self._steps.recorder, known.seq
        self._steps.go_on_at(seq + 1)
        self.answered_by = str(known.intent.get("model"))
        held = past.copies((e for e in known.before if e is not known.intent), recorder)
        intent = [*held, self._intent(seq, request, self._steps.take_seen())]
        attempt = _Attempt(request, Bound(0, 0, ""), None, intent, seq)
        paid, booked = _paid(known.outcome), past.copies(known.after[1:], recorder)
        doubtful = self.doubtful_tokens

        def outcome(
            completion: Completion | None, error: BaseException | None, took_ns: int
        ) -> Sequence[Event]:
            if completion is not None:
                return [*self._answered(attempt, completion, took_ns, paid), *booked]
            assert error is not None
            return [*self._failed(attempt, error, took_ns, paid)[:1], *booked]

        async def recall(step: RecordedStep) -> Completion:
            return completion_of(past, step)

        async def call() -> Completion:
            raise AssertionError("its outcome is on record")

        try:
            completion = await self._steps.step(StepKind.MODEL, intent, call, outcome, recall)
            if not past.anew(known):
                self._bills.append(completion.usage or Usage())
        except ModelError as error:
            if not past.anew(known):
                self._bills.append(error.usage or Usage())
            raise
        finally:
            self.doubtful_tokens = doubtful
            settled = known.first("budget.settled")
            if (settled.get("attrs") or {}).get("in_doubt"):
                self.doubtful_tokens += int(settled.get("budget_spent") or 0)
        return completion

    # --- one attempt ------------------------------------------------------------------------------

    async def _attempt(
        self, attempt: _Attempt, on_text: Callable[[str], None] | None
    ) -> Completion:
        model, redactor = self._model, self._steps.recorder.redactor

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
                return self._answered(attempt, completion, took_ns)
            assert error is not None
            return self._failed(attempt, error, took_ns)

        return await self._steps.step(StepKind.MODEL, attempt.intent, call, outcome)

    # --- before -----------------------------------------------------------------------------------

    async def _reserve(self, request: ModelRequest) -> _Attempt:
        model, ledger = self._model, self._ledger
        bound = model.bound(request)
        recorder = self._steps.recorder
        hold: Hold | None = None
        events: list[Event] = []
        if ledger is not None:
            bound, hold = await self._hold(ledger, request, bound)
        seq = self._steps.next_seq()
        if hold is not None and ledger is not None:
            if bound.output_tokens != request.max_output_tokens:
                request = replace(request, max_output_tokens=bound.output_tokens)
            events.append(
                recorder.event(
                    "budget.held",
                    {
                        "step": seq,
                        "budget_id": ledger.node.node_id,
                        "budget_unit": "tokens",
                        "budget_held": hold.amount.tokens,
                        "attrs": {
                            "nusd": hold.amount.nusd,
                            "output_cap": bound.output_tokens,
                            "rule": bound.rule,
                        },
                    },
                )
            )
        events.append(self._intent(seq, request, self._steps.take_seen()))
        return _Attempt(request, bound, hold, events, seq)

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

    async def _hold(
        self, ledger: Ledger, request: ModelRequest, bound: Bound
    ) -> tuple[Bound, Hold]:
        """Reserve the worst case; wait for room; then count; then shrink; then refuse."""
        info = self._model.info
        counted, whole = False, bound
        while True:
            answer = await self._room_for(ledger, bound)
            if not isinstance(answer, Refused):
                return bound, answer
            if not counted:
                counted = True
                self._steps.recorder.flush()
                if (tokens := await self._count(ledger, request)) is not None:
                    tokens = min(tokens, bound.input_tokens)
                    bound = whole = Bound(tokens, bound.output_tokens, "provider's count")
                    continue
            smaller = ledger.budget.shrink(ledger.node, info, bound)
            if smaller is not None and smaller.output_tokens < bound.output_tokens:
                bound = smaller
                continue
            least = min(bound.output_tokens, info.min_output_tokens)
            bound = replace(bound, output_tokens=least, rule=f"{bound.rule}, least output")
            last = await self._room_for(ledger, bound)
            if isinstance(last, Refused):
                if await self._more(ledger, last, bound):
                    bound = whole
                    continue
                record_refusal(self._steps.recorder, answer)
                raise refusal(answer)
            return bound, last

    async def _count(self, ledger: Ledger, request: ModelRequest) -> int | None:
        def sent() -> None:
            self._bills.append(Usage())

        return await provider_count(self._model, self._steps, ledger.node, request, sent)

    async def _room_for(self, ledger: Ledger, bound: Bound) -> Hold | Refused:
        """Reserve, waiting as long as calls in flight may still come in below their holds."""
        info, share = self._model.info, ledger.share
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
            self._steps.recorder.flush()
            try:
                with own.asking(amount) if own is not None else nullcontext():
                    await ledger.node.room(amount)
            except BudgetRefused as error:
                return Refused(
                    error.node, error.unit, error.asked, error.left, error.closed, error.remedy
                )

    async def _more(self, ledger: Ledger, refused: Refused, bound: Bound) -> bool:
        """Wait for what siblings leave; False where the agent's own limit is not what refuses."""
        if ledger.share is None or refused.closed or refused.node != ledger.node.name:
            return False
        self._steps.recorder.flush()
        return await ledger.share.more(ledger.budget.quote(self._model.info, bound))

    # --- after ------------------------------------------------------------------------------------

    def _answered(
        self,
        attempt: _Attempt,
        completion: Completion,
        took_ns: int,
        paid: Mapping[str, Any] | None = None,
    ) -> Sequence[Event]:
        """Record an answer, and book it; `paid` are the columns of what was booked for it then."""
        usage = completion.usage
        recorder = self._steps.recorder
        fields: dict[str, Any] = {
            "step": attempt.seq,
            "step_kind": "model",
            **self._fields,
            "status": "ok",
            "duration_ns": took_ns,
            "finish_reason": completion.finish_reason,
        }
        if completion.model:
            fields["model_used"] = completion.model
        if completion.response_id:
            fields["response_id"] = completion.response_id
        if completion.ttft_ns is not None:
            fields["ttft_ns"] = completion.ttft_ns
        if usage is not None:
            self._model.learn(attempt.bound, usage)
            fields |= _usage_fields(usage)
        if recorder.keeps_content:
            message = completion.message
            calls = [[call.id, call.name, call.arguments] for call in message.tool_calls]
            told: dict[str, Any] = {"content": message.content, "tool_calls": calls}
            if message.opaque:
                told["opaque"] = dict(message.opaque)
            fields |= recorder.keep(json.dumps(told), last_words=True)
        settled = self._settle(attempt, usage)
        if settled:
            fields["cost_nusd"] = _cost_of(settled)
            fields |= self._price()
        fields |= paid or {}
        return [recorder.event("model.answered", fields), *settled]

    def _failed(
        self,
        attempt: _Attempt,
        error: BaseException,
        took_ns: int,
        paid: Mapping[str, Any] | None = None,
    ) -> Sequence[Event]:
        """Record a failure, and book what it cost; `paid` as in `_answered`."""
        fault = error if isinstance(error, ModelError) else None
        fields: dict[str, Any] = {
            "step": attempt.seq,
            "step_kind": "model",
            **self._fields,
            "status": "error" if fault else "cancelled",
            "error_type": fault.fault if fault else "cancelled",
            "duration_ns": took_ns,
        }
        if fault is not None and (told := _told(fault)):
            fields["attrs"] = told
        usage = fault.usage if fault else None
        if usage is not None:
            fields |= _usage_fields(usage)
        # A cancelled attempt may have reached the provider: it is charged.
        sent = fault is None or fault.sent
        if sent or usage:
            settled = self._settle(attempt, usage)
        elif fault is not None and fault.status is not None:
            settled = self._settle(attempt, Usage())  # an error status: a request, no tokens
        else:
            settled = self._release(attempt)
        if sent or usage:
            fields |= self._price()
            if usage is not None and settled:  # without a bill, the cost is that of the hold
                fields["cost_nusd"] = _cost_of(settled)
        fields |= paid or {}
        return [self._steps.recorder.event("model.failed", fields), *settled]

    def _price(self) -> dict[str, Any]:
        """Where the price of a call comes from, where one is known."""
        price = self._ledger.budget.price_of(self._model.info) if self._ledger else None
        if price is None or not price.source:
            return {}
        return {"price_ref": f"{price.source} {price.date}".rstrip()}

    def _settle(self, attempt: _Attempt, usage: Usage | None) -> list[Event]:
        """Book what was billed; without a bill the hold, in doubt."""
        bound = attempt.bound
        self._bills.append(usage or Usage())
        if usage is None:
            self.doubtful_tokens += bound.tokens
        if attempt.hold is None or self._ledger is None:
            return []
        over = Amount()
        if usage is None:
            attempt.hold.charge()
            booked = attempt.hold.amount
        else:
            booked = self._ledger.budget.bill(self._model.info, usage)
            over = attempt.hold.settle(booked)
        common = {
            "step": attempt.seq,
            "budget_id": self._ledger.node.node_id,
            "budget_unit": "tokens",
            "budget_held": attempt.hold.amount.tokens,
            "budget_spent": booked.tokens,
        }
        recorder = self._steps.recorder
        attrs = {"nusd": booked.nusd, "in_doubt": usage is None}
        events = [recorder.event("budget.settled", {**common, "attrs": attrs})]
        if over != Amount():
            excess = {"tokens": over.tokens, "nusd": over.nusd, "unbounded": attempt.bound.rule}
            events.append(recorder.event("budget.overrun", {**common, "attrs": excess}))
        return events

    def _release(self, attempt: _Attempt) -> list[Event]:
        if attempt.hold is None or self._ledger is None:
            return []
        attempt.hold.release()
        fields = {
            "step": attempt.seq,
            "budget_id": self._ledger.node.node_id,
            "budget_unit": "tokens",
            "budget_held": attempt.hold.amount.tokens,
        }
        return [self._steps.recorder.event("budget.released", fields)]


def _paid(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that tell the price of a recorded attempt."""
    paid = {name: recorded.get(name) for name in ("cost_nusd", "price_ref")}
    return {name: value for name, value in paid.items() if value is not None and value != ""}


def _fields_of(model: Model) -> dict[str, Any]:
    return {"op": "chat", "provider": model.info.provider, "model": model.info.name}


def _cost_of(settled: Sequence[Event]) -> int:
    """What was booked, in 10⁻⁹ USD."""
    return int(settled[0].fields["attrs"]["nusd"])  # type: ignore[index]


def _told(fault: ModelError) -> dict[str, Any]:
    """What a service said of a failure."""
    said = {"http_status": fault.status, "retry_after_s": fault.retry_after_s}
    return {name: value for name, value in said.items() if value is not None}


def _usage_fields(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "tokens": usage.tokens,
    }


def _seconds_left() -> float:
    return anyio.current_effective_deadline() - anyio.current_time()

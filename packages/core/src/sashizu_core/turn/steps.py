"""The only way to the outside: a step, recorded before it starts and after it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic_ns
from typing import Literal, TypeVar

import anyio
import anyio.lowlevel

from sashizu_core.events import Event
from sashizu_core.ids import AgentId, RunId
from sashizu_core.turn.past import AgentPast, StoppedAsRecorded
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.recorded_step import RecordedStep
from sashizu_core.types import BackendUse, Outcome, StepKey, StepKind

__all__ = ["LAST_WORDS_S", "StepContext"]

T = TypeVar("T")

LAST_WORDS_S = 5.0
"""How long a cancelled agent may take to get its last events onto the disk, in seconds."""


class StepContext:
    """Runs the steps of one agent instance and numbers them.

    A number is fixed before its step starts, so that a record can be matched with a later replay.
    `past` is what the agent did before, where it is made again or goes on; None for most.
    """

    __slots__ = ("_agent_id", "_backends", "_run_id", "_seen", "_seq", "past", "recorder")

    def __init__(
        self,
        recorder: Recorder,
        run_id: RunId,
        agent_id: AgentId,
        past: AgentPast | None = None,
    ) -> None:
        self.recorder = recorder
        self.past = past
        self._seen: list[int] = []
        self._backends: dict[tuple[Literal["model", "tool"], str, str], int] = {}
        self._run_id = run_id
        self._agent_id = agent_id
        self._seq = 0

    @property
    def count(self) -> int:
        """How many steps have been numbered."""
        return self._seq

    def next_seq(self) -> int:
        """The `seq` of the next step's `StepKey`."""
        seq = self._seq
        self._seq += 1
        return seq

    def go_on_at(self, seq: int) -> None:
        """Number further steps from here on; never one number twice."""
        self._seq = max(self._seq, seq)

    def carried_out(self, kind: Literal["model", "tool"], name: str, backend: str) -> None:
        """Count what really carried a call out; nothing where that is told of none."""
        if backend:
            key = (kind, name, backend)
            self._backends[key] = self._backends.get(key, 0) + 1

    @property
    def backends(self) -> tuple[BackendUse, ...]:
        """What carried out the calls so far, in the order in which they came up."""
        return tuple(BackendUse(*key, calls) for key, calls in self._backends.items())

    def key(self, seq: int) -> StepKey:
        """What names a step for ever."""
        return StepKey(self._run_id, self._agent_id, seq)

    def seen(self, look: Callable[[], int | None]) -> int | None:
        """What somebody sees of what others change meanwhile, such as a budget that is shared.

        It is written down with the next model call, so that a replay sees the same.
        """
        now = look()
        if now is None:
            return None
        if self.past is not None:
            now = self.past.seen(now)
        if self.recorder.keeps_content:
            self._seen.append(now)
        return now

    def take_seen(self) -> list[int]:
        """What was seen since the last call."""
        seen, self._seen = self._seen, []
        return seen

    async def step(
        self,
        kind: StepKind,
        intent: Sequence[Event],
        call: Callable[[], Awaitable[T]],
        outcome: Callable[[T | None, BaseException | None, int], Sequence[Event]],
        recall: Callable[[RecordedStep], Awaitable[T]] | None = None,
    ) -> T:
        """Record `intent`, make the `call`, record its `outcome`, return its result.

        Where the agent has done the same step before and what came of it is on record, `recall`
        makes the result of that, and nothing is called.

        `outcome` gets the result, the exception (a cancellation too) and the duration in
        nanoseconds, and returns the events to write. For kinds that are durable, the intent is on
        disk before the call starts, and the outcome before the caller sees it. The good outcome of
        another kind is written with the next event of the agent: it has nothing to undo.

        Raises:
            RecordError: the record cannot be written; if that is the intent, nothing was done.
        """
        if self.past is not None:
            known = self.past.take(intent)
            if known is not None and (recall is not None or self.past.strict):
                return await self._recalled(self.past, known, intent, outcome, recall)
        recorder = self.recorder
        recorder.write(intent)
        if kind.durable:
            await recorder.durable()
        started = monotonic_ns()
        try:
            result = await call()
        except BaseException as error:
            recorder.write(outcome(None, error, monotonic_ns() - started))
            if kind.durable:
                with anyio.move_on_after(LAST_WORDS_S, shield=True):
                    await recorder.durable()
            raise
        recorder.later(outcome(result, None, monotonic_ns() - started))
        if kind.durable:
            await recorder.durable()
        return result

    async def _recalled(
        self,
        past: AgentPast,
        known: RecordedStep,
        intent: Sequence[Event],
        outcome: Callable[[T | None, BaseException | None, int], Sequence[Event]],
        recall: Callable[[RecordedStep], Awaitable[T]] | None,
    ) -> T:
        """Take the result of a step from the record."""
        recorder = self.recorder
        anew = past.anew(known)
        recorder.write(intent if anew else past.copies(known.before, recorder))
        recorder.write(past.copies(known.within, recorder))
        ended = past.copies(known.after, recorder)
        await anyio.lowlevel.checkpoint()  # others have their turn, as with a real call
        try:
            result = await _outcome_of(past, known, recall)
        except BaseException as error:
            recorder.write(outcome(None, error, 0) if anew else ended)
            raise
        recorder.later(outcome(result, None, 0) if anew else ended)
        return result


async def _outcome_of(
    past: AgentPast, known: RecordedStep, recall: Callable[[RecordedStep], Awaitable[T]] | None
) -> T:
    if not known.finished:
        raise StoppedAsRecorded(past.stop or Outcome.CANCELLED)
    if recall is None:
        raise past.differs(known.seq, "an outcome that is not kept", "its result")
    return await recall(known)

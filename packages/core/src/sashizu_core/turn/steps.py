"""The only way to the outside: a step, recorded before it starts and after it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic_ns
from typing import TypeVar

import anyio

from sashizu_core.events import Event
from sashizu_core.ids import AgentId, RunId
from sashizu_core.turn.record import Recorder
from sashizu_core.types import StepKey, StepKind

__all__ = ["LAST_WORDS_S", "StepContext"]

T = TypeVar("T")

LAST_WORDS_S = 5.0
"""How long a cancelled agent may take to get its last events onto the disk, in seconds."""


class StepContext:
    """Runs the steps of one agent instance and numbers them.

    A number is fixed before its step starts, so that a record can be matched with a later replay.
    """

    __slots__ = ("_agent_id", "_run_id", "_seq", "recorder")

    def __init__(self, recorder: Recorder, run_id: RunId, agent_id: AgentId) -> None:
        self.recorder = recorder
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

    def key(self, seq: int) -> StepKey:
        """What names a step for ever."""
        return StepKey(self._run_id, self._agent_id, seq)

    async def step(
        self,
        kind: StepKind,
        intent: Sequence[Event],
        call: Callable[[], Awaitable[T]],
        outcome: Callable[[T | None, BaseException | None, int], Sequence[Event]],
    ) -> T:
        """Record `intent`, make the `call`, record its `outcome`, return its result.

        `outcome` gets the result, the exception (a cancellation too) and the duration in
        nanoseconds, and returns the events to write. For kinds that are durable, the intent is on
        disk before the call starts, and the outcome before the caller sees it. The good outcome of
        another kind is written with the next event of the agent: it has nothing to undo.

        Raises:
            RecordError: the record cannot be written; if that is the intent, nothing was done.
        """
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

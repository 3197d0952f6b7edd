from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio
import pytest
from sashizu_core.errors import RecordError
from sashizu_core.events import Event
from sashizu_core.ids import new_agent_id, new_run_id
from sashizu_core.testing.fakes import MemorySink
from sashizu_core.turn.record import Recorder
from sashizu_core.turn.steps import StepContext
from sashizu_core.types import StepKind


def context(sink: MemorySink) -> StepContext:
    return StepContext(Recorder([sink], {}), new_run_id(), new_agent_id())


def outcome(_result: object, error: BaseException | None, _ns: int) -> Sequence[Event]:
    return [Event("tool.ended", {"status": "ok" if error is None else type(error).__name__})]


INTENT = [Event("tool.requested", {})]


@pytest.mark.parametrize("kind", list(StepKind))
async def test_the_intent_is_recorded_before_the_step_and_durable_if_it_changes_something(
    kind: StepKind,
) -> None:
    sink = MemorySink()

    async def call() -> str:
        assert sink.kinds() == ["tool.requested"]
        assert sink.durable_count == (1 if kind in (StepKind.EFFECT, StepKind.CHILD) else 0)
        return "done"

    steps = context(sink)
    assert await steps.step(kind, INTENT, call, outcome) == "done"
    assert kind.durable is (sink.kinds() == ["tool.requested", "tool.ended"])
    steps.recorder.flush()
    assert sink.kinds() == ["tool.requested", "tool.ended"]
    assert sink.durable_count == (2 if kind.durable else 0)


async def test_a_step_whose_intent_cannot_be_recorded_does_not_start() -> None:
    class Full(MemorySink):
        def write(self, events: Sequence[Event]) -> None:
            raise RecordError("no space left")

    async def call() -> None:
        pytest.fail("the step ran unrecorded")

    with pytest.raises(RecordError):
        await context(Full()).step(StepKind.EFFECT, INTENT, call, outcome)


async def test_a_cancelled_step_still_records_its_outcome() -> None:
    sink = MemorySink()
    with anyio.move_on_after(0.01):
        await context(sink).step(StepKind.EFFECT, INTENT, anyio.sleep_forever, outcome)
    assert sink.kinds() == ["tool.requested", "tool.ended"]
    assert sink.of("tool.ended")[0]["status"] != "ok"
    assert sink.durable_count == 2


async def test_steps_are_numbered_from_zero_before_they_start() -> None:
    steps = context(MemorySink())
    assert [steps.next_seq() for _ in range(3)] == [0, 1, 2]
    assert steps.count == 3
    assert (steps.key(2).seq, steps.key(2)) == (2, steps.key(2))


async def test_every_sink_gets_every_event_with_the_context_of_its_subject() -> None:
    first, second = MemorySink(), MemorySink(persistent=False)
    recorder = Recorder([first, second], {"run_id": "r", "agent_id": None}).derive(agent_name="a")
    await recorder.record([recorder.event("run.started", {"status": "ok"})])
    expected: Mapping[str, object] = {"run_id": "r", "agent_name": "a", "status": "ok"}
    assert first.of("run.started") == second.of("run.started") == [expected]
    assert first.durable_count == 1  # runs wait for the disk
    assert second.durable_count == 0

"""What every sink must do.

```python
class TestSink(SinkContract):
    @pytest.fixture
    def spec(self, tmp_path: Path) -> SinkSpec:
        return my_sink(tmp_path)

    @pytest.fixture
    def read_back(self, tmp_path: Path) -> ReadBack:
        return lambda: my_events(tmp_path)

    @pytest.fixture
    def program(self, tmp_path: Path) -> str:  # only for persistent sinks
        return f"from my_package import my_sink; spec = my_sink({str(tmp_path)!r})"
```
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import pytest

from sashizu_core.errors import RecordError
from sashizu_core.events import Event
from sashizu_core.ids import new_agent_id, new_run_id
from sashizu_core.specs import SinkSpec
from sashizu_core.testing.contract import Contract

__all__ = ["ReadBack", "SinkContract"]

ReadBack = Callable[[], Sequence[Event]]
"""Reads the events that a sink has kept, in order. They may have more fields than were written."""

_ENOUGH_S = 20.0

_KILLED = """
import os
import anyio
from sashizu_core.events import Event
{program}

async def main():
    async with spec.open() as sink:
        for step in range(50):
            sink.write([Event("tool.requested", {{"step": step, "tool": "t"}})])
        os.kill(os.getpid(), 9)

anyio.run(main)
"""


class SinkContract(Contract):
    """Inherit it, and override `spec`, `read_back` and, for a persistent sink, `program`."""

    @pytest.fixture
    def spec(self) -> SinkSpec:
        """The sink, fresh for every test."""
        raise NotImplementedError("override the fixture `spec`: it returns a new, empty sink")

    @pytest.fixture
    def read_back(self) -> ReadBack:
        """Reads what the sink of `spec` has kept, while it is open and, if persistent, after."""
        raise NotImplementedError("override the fixture `read_back`")

    @pytest.fixture
    def program(self) -> str:
        """Python source that binds `spec` to the same sink in another process."""
        return ""

    async def test_events_are_kept_in_the_order_in_which_they_came(
        self, spec: SinkSpec, read_back: ReadBack
    ) -> None:
        async with spec.open() as sink:
            sink.write([_event(step) for step in range(3)])
            sink.write([_event(3)])
            sink.write([_event(step) for step in range(4, 10)])
            await sink.durable()
            assert _steps(read_back()) == list(range(10))

    async def test_every_field_is_kept_as_it_was_given(
        self, spec: SinkSpec, read_back: ReadBack
    ) -> None:
        event = Event(
            "model.answered",
            {
                "run_id": new_run_id(),
                "agent_id": new_agent_id(),
                "agent_name": 'reviewer \u00e9 \u65e5\u672c \U0001f600 "quoted"\n\x1b[31m',
                "step": 7,
                "input_tokens": 2**40,
                "status": "ok",
                "attrs": {"deep": [1, {"er": None}], "share": 0.5, "yes": True},
            },
        )
        async with spec.open() as sink:
            sink.write([event])
            await sink.durable()
            (kept,) = _ours(read_back(), "model.answered")
        assert {name: kept.fields[name] for name in event.fields} == event.fields

    async def test_a_call_without_events_changes_nothing(
        self, spec: SinkSpec, read_back: ReadBack
    ) -> None:
        async with spec.open() as sink:
            sink.write([_event(0)])
            sink.write([])
            assert _steps(read_back()) == [0]

    async def test_of_one_call_all_events_are_taken_or_none(
        self, spec: SinkSpec, read_back: ReadBack
    ) -> None:
        bad = Event("tool.requested", {"step": 2, "no_such_column": 1})
        async with spec.open() as sink:
            sink.write([_event(0)])
            try:
                sink.write([_event(1), bad, _event(3)])
            except RecordError:
                expected = [0, 4]
            else:
                expected = [0, 1, 2, 3, 4]
            sink.write([_event(4)])
            assert _steps(read_back()) == expected

    async def test_what_was_written_does_not_follow_later_changes(
        self, spec: SinkSpec, read_back: ReadBack
    ) -> None:
        async with spec.open() as sink:
            if not sink.persistent:
                pytest.skip("this sink keeps the objects themselves")
            fields: dict[str, Any] = {"step": 0, "tool": "before", "attrs": {"a": 1}}
            sink.write([Event("tool.requested", fields)])
            fields["tool"] = "after"
            fields["attrs"]["a"] = 2
            (kept,) = _ours(read_back())
            assert (kept.fields["tool"], kept.fields["attrs"]) == ("before", {"a": 1})

    async def test_a_cancelled_wait_harms_nobody(self, spec: SinkSpec, read_back: ReadBack) -> None:
        async with spec.open() as sink:
            sink.write([_event(0)])
            with anyio.CancelScope() as scope:
                scope.cancel()
                await sink.durable()
            sink.write([_event(1)])
            with anyio.fail_after(_ENOUGH_S):
                await sink.durable()
            assert _steps(read_back()) == [0, 1]

    async def test_a_cancelled_run_keeps_what_was_written(
        self, spec: SinkSpec, read_back: ReadBack
    ) -> None:
        with anyio.CancelScope() as scope:
            async with spec.open() as sink:
                sink.write([_event(0)])
                kept = _steps(read_back())
                persistent = sink.persistent
                scope.cancel()
                await anyio.sleep(_ENOUGH_S)
        assert kept == [0]
        if persistent:
            assert _steps(read_back()) == [0]

    async def test_many_can_wait_at_once(self, spec: SinkSpec, read_back: ReadBack) -> None:
        done: list[int] = []
        async with spec.open() as sink:

            async def write(step: int) -> None:
                sink.write([_event(step)])
                await sink.durable()
                done.append(step)

            with anyio.fail_after(_ENOUGH_S):
                async with anyio.create_task_group() as group:
                    for step in range(50):
                        group.start_soon(write, step)
            assert sorted(done) == list(range(50))
            assert set(_steps(read_back())) == set(done)

    async def test_a_handoff_is_text_by_name(self, spec: SinkSpec) -> None:
        async with spec.open() as sink:
            handoff = sink.child_handoff()
            assert isinstance(handoff, Mapping)
            assert all(isinstance(part, str) for item in handoff.items() for part in item)

    async def test_a_sink_that_is_opened_again_goes_on(
        self, spec: SinkSpec, read_back: ReadBack
    ) -> None:
        async with spec.open() as sink:
            sink.write([_event(0)])
        async with spec.open() as sink:
            if not sink.persistent:
                pytest.skip("this sink does not promise to outlive the process")
            sink.write([_event(1)])
            assert _steps(read_back()) == [0, 1]

    async def test_written_events_survive_kill_9(
        self, spec: SinkSpec, read_back: ReadBack, program: str
    ) -> None:
        async with spec.open() as sink:
            persistent = sink.persistent
        if not persistent:
            pytest.skip("this sink does not promise to outlive the process")
        assert program, "a persistent sink needs the fixture `program`"
        ended = await anyio.run_process(
            [sys.executable, "-c", _KILLED.format(program=program)],
            check=False,
            stderr=subprocess.PIPE,
        )
        assert abs(ended.returncode) == 9, ended.stderr.decode()
        assert _steps(read_back()) == list(range(50))


def _event(step: int) -> Event:
    return Event("tool.requested", {"step": step, "tool": "t", "attrs": {"n": step}})


def _ours(events: Sequence[Event], kind: str = "tool.requested") -> list[Event]:
    """The events of the test; a sink may add some of its own."""
    return [event for event in events if event.kind == kind]


def _steps(events: Sequence[Event]) -> list[object]:
    return [event.fields["step"] for event in _ours(events)]

"""What every executor has to do, as tests to inherit.

```python
class TestExecutor(ExecutorContract):
    @pytest.fixture
    async def executor(self) -> AsyncIterator[Executor]:
        async with my_executor(CONTRACT_OPERATIONS) as executor:
            yield executor
```

Where other processes do the work, they have to know `CONTRACT_OPERATIONS`.
"""

from __future__ import annotations

from contextlib import aclosing
from time import monotonic, time
from typing import Any

import anyio
import pytest

from sashizu_core.errors import UsageError
from sashizu_core.executors import Executor, Work, WorkStatus
from sashizu_core.ids import uuid7
from sashizu_core.testing.contract import Contract

__all__ = ["ExecutorContract"]

_WAIT_S = 60.0


class ExecutorContract(Contract):
    """Inherit it, and override `executor`."""

    @pytest.fixture
    def executor(self) -> Any:
        """The executor under test, which knows `CONTRACT_OPERATIONS`; the fixture may be async."""
        raise NotImplementedError("override the fixture `executor`")

    async def test_a_work_gives_what_its_operation_gives(self, executor: Executor) -> None:
        status = await _done(executor, "contract.echo", {"text": "é", "none": None, "n": [1, 2.5]})
        assert status.state == "ok", status
        assert status.result["echo"] == {"text": "é", "none": None, "n": [1, 2.5]}
        assert status.worker

    async def test_the_same_key_twice_is_one_work(self, executor: Executor) -> None:
        key = uuid7()
        for _ in range(3):
            await executor.submit(Work(key, "contract.echo", 1))
        await _ended(executor, key)
        await executor.submit(Work(key, "contract.echo", 2))
        status = await _ended(executor, key)
        assert status.result["echo"] == 1
        assert [event.value async for event in executor.events(key)] == [{"attempt": 1}]

    async def test_works_hand_over_works_and_attach_to_those_that_are_there(
        self, executor: Executor
    ) -> None:
        status = await _done(executor, "contract.tree", [3, 2])
        assert (status.state, status.result) == ("ok", 1 + 3 + 9), status

    async def test_steps_at_once_give_their_results_in_the_order_of_the_calls(
        self, executor: Executor
    ) -> None:
        status = await _done(executor, "contract.parallel", 4)
        assert status.result == [{"number": number} for number in range(4)], status

    async def test_progress_can_be_followed_from_any_point(self, executor: Executor) -> None:
        key = uuid7()
        await executor.submit(Work(key, "contract.steps", 4))
        with anyio.fail_after(_WAIT_S):
            live = [event async for event in executor.events(key)]
            late = [event async for event in executor.events(key, after=2)]
        assert [event.seq for event in live] == [1, 2, 3, 4]
        assert [event.value["total"] for event in live] == [1, 2, 3, 4]
        assert late == live[2:]
        assert (await executor.status(key)).result == 4

    async def test_a_cancel_reaches_a_step_that_runs_and_all_beneath_it(
        self, executor: Executor
    ) -> None:
        key = uuid7()
        await executor.submit(Work(key, "contract.stuck", 2))
        keys = [key, f"{key}.below", f"{key}.below.below"]
        for each in keys:
            await _told(executor, each)
        began = monotonic()
        await executor.cancel(key, reason="enough")
        for each in keys:
            status = await _ended(executor, each)
            assert (status.state, status.error) == ("cancelled", "enough"), status
        assert monotonic() - began < 10.0

    async def test_what_has_ended_stays_as_it_is(self, executor: Executor) -> None:
        status = await _done(executor, "contract.echo", 1)
        await executor.cancel(status.key, reason="too late")
        assert await executor.status(status.key) == status

    async def test_a_deadline_reaches_a_step_that_runs(self, executor: Executor) -> None:
        key = uuid7()
        deadline = time() + 0.7
        await executor.submit(Work(key, "contract.stuck", 0, deadline=deadline))
        status = await _ended(executor, key)
        assert (status.state, bool(status.error)) == ("timeout", True), status
        assert time() >= deadline - 0.1

    async def test_signals_come_once_each_in_their_order(self, executor: Executor) -> None:
        key = uuid7()
        await executor.submit(Work(key, "contract.signalled", 1.0))
        await _told(executor, key)
        for answer, idem in (({"yes": 1}, "a"), ({"yes": 1}, "a"), ("no", "b")):
            await executor.signal(key, "answer", answer, idem=idem)
        await executor.signal(key, "other", "not asked for", idem="c")
        status = await _ended(executor, key)
        assert status.result == [{"yes": 1}, "no"], status

    async def test_what_fails_says_why_and_what_breaks_tells_that_too(
        self, executor: Executor
    ) -> None:
        failed = await _done(executor, "contract.failing", "it rains")
        assert (failed.state, failed.error) == ("error", "no, because it rains")
        broken = await _done(executor, "contract.broken", None)
        assert broken.state == "error"
        assert "ZeroDivisionError" in broken.error

    async def test_a_result_that_is_no_json_is_refused(self, executor: Executor) -> None:
        status = await _done(executor, "contract.no-json", None)
        assert status.state == "error"
        assert "JSON" in status.error

    async def test_what_nobody_can_do_is_not_taken(self, executor: Executor) -> None:
        with pytest.raises(UsageError, match=r"'contract.ecko'; did you mean 'contract.echo'"):
            await executor.submit(Work(uuid7(), "contract.ecko"))
        with pytest.raises(UsageError, match="JSON"):
            await executor.submit(Work(uuid7(), "contract.echo", {1, 2}))

    async def test_a_work_that_is_not_there_is_told(self, executor: Executor) -> None:
        with pytest.raises(UsageError, match="there is no work 'nobody'"):
            await executor.status("nobody")
        with pytest.raises(UsageError, match="there is no work 'nobody'"):
            await executor.cancel("nobody")
        with pytest.raises(UsageError, match="there is no work 'nobody'"):
            await executor.signal("nobody", "answer", 1, idem="a")
        with pytest.raises(UsageError, match="there is no work 'nobody'"):
            _ = [event async for event in executor.events("nobody")]

    async def test_who_drains_waits_for_what_is_at_work_and_takes_no_more(
        self, executor: Executor
    ) -> None:
        stuck, key = uuid7(), uuid7()
        await executor.submit(Work(stuck, "contract.stuck", 0))
        await executor.submit(Work(key, "contract.echo", 1))
        await _told(executor, stuck)
        assert not await executor.drain(0.3)
        with pytest.raises(UsageError, match="drained"):
            await executor.submit(Work(uuid7(), "contract.echo", 1))
        assert (await _ended(executor, key)).state == "ok"
        await executor.cancel(stuck)
        assert await executor.drain(_WAIT_S)


async def _done(executor: Executor, operation: str, payload: Any) -> WorkStatus:
    key = uuid7()
    await executor.submit(Work(key, operation, payload))
    return await _ended(executor, key)


async def _ended(executor: Executor, key: str) -> WorkStatus:
    """The status of a work once it has ended."""
    with anyio.move_on_after(_WAIT_S) as late:
        async for event in executor.events(key):
            del event
    status = await executor.status(key)
    assert not late.cancelled_caught, f"{status} has not ended within {_WAIT_S:g} s"
    return status


async def _told(executor: Executor, key: str) -> None:
    """Wait until a work has told something; it may not be there yet."""
    with anyio.fail_after(_WAIT_S):
        while True:
            try:
                async with aclosing(executor.events(key)) as events:
                    await anext(events)
                    return
            except UsageError:
                await anyio.sleep(0.02)

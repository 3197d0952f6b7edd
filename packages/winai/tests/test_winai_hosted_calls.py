"""Invocations that begin in threads of Windows and are carried out in our event loop."""

from __future__ import annotations

import anyio
import anyio.to_thread
import pytest
from sashizu_winai.apartment import from_any_thread
from sashizu_winai.errors import error_of
from sashizu_winai.hosting.calls import HostedAnswer, HostedCall
from sashizu_winai.hosting.running import HostedCalls, HostedRun

CALL = HostedCall("a", {})
LIMIT_S = 20


class Provider:
    actions = ()

    def __init__(self, answer):
        self._answer = answer
        self.cancelled = anyio.Event()

    async def invoke(self, call):
        if isinstance(self._answer, BaseException):
            raise self._answer
        if self._answer == "never":
            try:
                await anyio.sleep_forever()
            finally:
                self.cancelled.set()
        return self._answer


async def nothing(answer):
    """Deliver it nowhere."""


async def ended(run):
    """Wait until a run has ended, and tell how."""
    done, states = anyio.Event(), []
    told = from_any_thread(done.set)

    def tell(state):
        states.append(state)
        told()

    run.on_end(tell)
    with anyio.fail_after(LIMIT_S):
        await done.wait()
    assert states == [run.state]
    return run.state


async def test_an_answer_is_delivered_before_the_end_is_told():
    delivered = []

    async def deliver(answer):
        delivered.append(answer.status)

    async with anyio.create_task_group() as group:
        calls = HostedCalls(group, Provider(HostedAnswer("success")))
        run = await anyio.to_thread.run_sync(calls.begin, CALL, deliver)
        assert await ended(run) == "completed"
    assert delivered == ["success"]


async def test_what_is_given_up_is_cancelled_and_ends_once():
    provider = Provider("never")
    async with anyio.create_task_group() as group:
        run = await anyio.to_thread.run_sync(HostedCalls(group, provider).begin, CALL, nothing)
        await anyio.to_thread.run_sync(run.cancel)
        assert await ended(run) == "canceled"
        assert provider.cancelled.is_set()
    run.end("completed")
    assert run.state == "canceled"


async def test_closing_ends_what_is_at_work():
    async with anyio.create_task_group() as group:
        calls = HostedCalls(group, Provider("never"))
        run = await anyio.to_thread.run_sync(calls.begin, CALL, nothing)
        group.cancel_scope.cancel()
    assert await ended(run) == "canceled"


async def test_what_windows_refuses_is_told_with_its_code():
    async with anyio.create_task_group() as group:
        calls = HostedCalls(group, Provider(error_of("answer", 0x80070005)))
        run = await anyio.to_thread.run_sync(calls.begin, CALL, nothing)
        assert await ended(run) == "error"
    assert run.hresult == 0x80070005


async def test_nobody_waits_for_a_group_that_has_ended():
    async with anyio.create_task_group() as group:
        calls = HostedCalls(group, Provider(HostedAnswer("success")))
    run = await anyio.to_thread.run_sync(calls.begin, CALL, nothing)
    assert (run.state, run.hresult) == ("error", 0x80004004)


@pytest.mark.parametrize("before", [False, True])
def test_cancelling_reaches_the_work_whichever_comes_first(before):
    run, heard = HostedRun(), []
    if before:
        run.cancel()
        run.on_cancel(lambda: heard.append(1))
    else:
        run.on_cancel(lambda: heard.append(1))
        run.cancel()
    assert heard == [1]

from __future__ import annotations

import anyio
import pytest
from sashizu_core.errors import Fault, ModelError
from sashizu_core.turn.attempts import BACKOFF_CAP_S, LONGEST_WAIT_S, ProviderGate, RetryPlan


def fault(kind: Fault, **facts: object) -> ModelError:
    return ModelError("failed", fault=kind, **facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["auth", "not_found", "invalid_request", "content_filter"])
async def test_a_final_fault_is_not_tried_again(kind: Fault) -> None:
    assert RetryPlan(ProviderGate()).wait_s(fault(kind)) is None


async def test_an_unbilled_failure_is_tried_four_times_with_growing_waits() -> None:
    plan = RetryPlan(ProviderGate())
    waits = [plan.wait_s(fault("overloaded", status=503)) for _ in range(5)]
    assert waits[4] is None
    assert all(wait is not None and 0.5 <= wait <= BACKOFF_CAP_S for wait in waits[:4])


async def test_an_attempt_that_may_be_billed_is_tried_only_three_times() -> None:
    plan = RetryPlan(ProviderGate())
    waits = [plan.wait_s(fault("transport", sent=True)) for _ in range(4)]
    assert [wait is None for wait in waits] == [False, False, False, True]


async def test_a_rate_limit_of_one_agent_holds_back_all_callers_of_the_provider() -> None:
    gate = ProviderGate()
    wait = RetryPlan(gate).wait_s(fault("rate_limited", retry_after_s=0.05))
    assert wait == 0.05
    before = anyio.current_time()
    await gate.wait()
    assert anyio.current_time() - before >= 0.05


async def test_an_exhausted_account_ends_every_caller() -> None:
    gate = ProviderGate()
    assert RetryPlan(gate).wait_s(fault("quota", status=429)) is None
    with pytest.raises(ModelError) as caught:
        await gate.wait()
    assert caught.value.fault == "quota"


async def test_retries_of_all_agents_share_one_allowance() -> None:
    gate = ProviderGate(requests=100)
    granted = sum(
        RetryPlan(gate).wait_s(fault("overloaded", status=500)) is not None for _ in range(100)
    )
    assert granted == 20  # ten, and a tenth of the requests


async def test_a_wait_that_is_too_long_ends_the_call_instead() -> None:
    gate = ProviderGate()
    plan = RetryPlan(gate)
    assert plan.wait_s(fault("rate_limited", status=429, retry_after_s=86_400.0)) is None
    assert gate.closed_until - anyio.current_time() <= LONGEST_WAIT_S

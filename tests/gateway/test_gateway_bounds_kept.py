"""What clients write so that a call costs more than it was bounded at, or so that nothing goes on."""

import pytest
from sashizu_core.types import Limits

CHAT = {"model": "gpt-5", "messages": [{"role": "user", "content": "hello"}]}
MOST = 2**63 - 1


@pytest.mark.parametrize("limits", [Limits(), Limits(tokens=100_000), Limits(tokens=10)])
async def test_no_number_of_a_client_is_larger_than_the_record_can_hold(opened, service, limits):
    bench = await opened(limits)
    service.says()

    await bench.ask("/v1/chat/completions", {**CHAT, "max_tokens": MOST, "n": 128})

    booked = [*bench.of("budget.held"), *bench.of("budget.refused")]
    assert booked
    for event in booked:
        assert event["budget_held"] <= MOST
        assert event["attrs"].get("nusd", 0) <= MOST
    assert not bench.gateway.ended

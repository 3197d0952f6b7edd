"""What `room` promises is worth something only if the `reserve` right after it succeeds."""

from __future__ import annotations

import anyio
from sashizu_budget.ledger import Ledger
from sashizu_core.errors import BudgetRefused
from sashizu_core.protocols import BudgetNode, Busy, Refused
from sashizu_core.types import Amount, Limits


async def test_two_that_wait_for_the_same_room_get_it_one_after_the_other() -> None:
    """The first one called must not be sent back behind the second, and so on for ever."""
    root = Ledger().root("run", Limits(tokens=100))
    first = root.reserve(Amount(tokens=90))
    assert not isinstance(first, Busy | Refused)
    rounds = 0
    served: list[str] = []

    async def wants(name: str) -> None:
        nonlocal rounds
        while True:
            rounds += 1
            assert rounds < 20, "they send each other back to the end of the queue"
            hold = root.reserve(Amount(tokens=60))
            if isinstance(hold, Busy):
                await root.room(Amount(tokens=60))
                continue
            assert not isinstance(hold, Refused)
            served.append(name)
            await anyio.lowlevel.checkpoint()
            hold.settle(Amount(tokens=5))
            return

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(wants, "a")
            group.start_soon(wants, "b")
            await anyio.wait_all_tasks_blocked()
            first.settle(Amount(tokens=5))
    assert sorted(served) == ["a", "b"]  # trio starts tasks in any order


async def test_a_thousand_agents_share_a_limit_for_half_as_many_calls_to_the_last_one() -> None:
    root = Ledger().root("run", Limits(tokens=500 * 60))
    held, billed = Amount(tokens=100, requests=1), Amount(tokens=60, requests=1)
    calls = refused = 0

    async def agent(node: BudgetNode) -> None:
        nonlocal calls, refused
        while True:
            hold = node.reserve(held)
            state = root.state()
            assert state.spent.tokens + state.held.tokens <= 500 * 60
            if isinstance(hold, Busy):
                try:
                    await node.room(held)
                except BudgetRefused:
                    break
            elif isinstance(hold, Refused):
                break
            else:
                await anyio.lowlevel.checkpoint()
                hold.settle(billed)
                calls += 1
        refused += 1

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for number in range(1_000):
                group.start_soon(agent, root.open(f"agent-{number}", Limits()))

    assert refused == 1_000
    assert root.state().spent.tokens == calls * 60
    assert root.state().held.tokens == 0
    assert 500 * 60 - calls * 60 < held.tokens

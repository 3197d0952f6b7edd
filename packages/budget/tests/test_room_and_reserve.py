"""What `room` promises is worth something only if the `reserve` right after it succeeds."""

from __future__ import annotations

import anyio
from sashizu_budget.ledger import Ledger
from sashizu_core.protocols import Busy, Refused
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

"""Runs that answered requests as they came: under one budget, whole on record, never made again."""

from __future__ import annotations

from time import monotonic

import anyio
import pytest
from sashizu_core.errors import SashizuError
from sashizu_core.runtime.realtime import Asking, answer_in_time
from sashizu_core.types import Limits


async def stream(*prompts):
    await anyio.wait_all_tasks_blocked()
    for number, prompt in enumerate(prompts):
        yield Asking(number, prompt, monotonic())


async def test_requests_share_the_budget_and_each_is_on_record(world):
    world.agent("asked", lambda _: "yes")
    told = []
    with anyio.fail_after(30):
        found = await answer_in_time(
            stream("one", "two", "three"),
            told.append,
            agent="asked",
            target_s=30.0,
            workspace=world.place,
            agents=world.agents,
            budget=Limits(requests=2),
            **world.options(),
        )

    assert [(each.status, each.error) for each in told] == [
        ("ok", ""),
        ("ok", ""),
        ("failed", "budget"),
    ]
    assert found.budget.spent.requests == 2
    with pytest.raises(SashizuError, match="answered requests as they came"):
        await world.replay(found.run_id)
    with pytest.raises(SashizuError):
        await world.resume(found.run_id, crashed=False)

"""What an agent in a process of its own leaves of its limit."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from sashizu_core.runtime import delegate_parallel
from sashizu_core.types import Limits, Task


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # what is tested runs in another process, with a loop of its own


async def test_what_it_leaves_is_for_a_sibling_in_this_process(place: Any) -> None:
    place.agent("far", "tree/leaf", isolation="process", budget={"tokens": 20_000})
    place.agent("near", "tree/leaf", budget={"tokens": 300})

    with anyio.fail_after(60):
        report = await delegate_parallel(
            [Task("near"), Task("far")],
            workspace=place.work,
            budget=Limits(tokens=50_000),
            rebalance=True,
        )

    assert [agent.answer for agent in report.results] == ["a leaf", "a leaf"]
    rows = place.asked(
        "select agent_name, attrs->>'from' from events where kind = 'budget.rebalanced'"
    )
    assert set(rows) == {("near", "far")}
    assert report.budget is not None
    assert report.budget.spent.tokens <= 20_300

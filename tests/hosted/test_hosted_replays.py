"""Runs whose agents have processes of their own are replayed without any."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from sashizu_core.errors import SashizuError
from sashizu_core.repeating import fork, replay
from sashizu_core.runtime import delegate_parallel
from sashizu_core.settings import load_settings
from sashizu_core.types import Limits, Task

SPAWNS: dict[str, Any] = {"tools": {"mcp": ["delegate"]}, "spawn": {"agents": ["*"]}}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # what is tested runs in other processes, with a loop of their own


async def ran(place: Any, *names: str, **options: Any) -> Any:
    with anyio.fail_after(90):
        return await delegate_parallel(
            [Task(name) for name in names], workspace=place.work, **options
        )


async def test_agents_with_processes_are_replayed_without_them(place: Any) -> None:
    place.agent("lead", "tree/all", **SPAWNS)
    place.agent("kid-a", "tree/all", isolation="process", **SPAWNS)
    place.agent("kid-b", "tree/leaf", isolation="process")
    report = await ran(place, "lead", budget=Limits(tokens=900_000, depth=2))
    (lead,) = report.results
    before = place.asked("select count(*) from events where kind = 'writer.opened'")
    found = await replay(report.run_id, settings=load_settings(place.work))
    assert found.differences == ()
    assert found.report.results[0].answer == lead.answer
    told = [(each.agent, each.answer) for each in found.report.results[0].children]
    assert sorted(told) == sorted((each.agent, each.answer) for each in lead.children)
    kid = next(each for each in lead.children if each.agent == "kid-a")
    with pytest.raises(SashizuError, match=r"unsupported: .* the work of a process of its own"):
        await fork(report.run_id, at=1, agent=kid.agent_id, settings=load_settings(place.work))
    after = place.asked("select count(*) from events where kind = 'writer.opened'")
    assert after[0][0] == before[0][0] + 1
